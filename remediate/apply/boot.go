package apply

import (
	"fmt"
	"os"
	"strings"
)

// bootFile marks, in the runtime directory, the boot in which the persisted limit was last applied.
const bootFile = "boot-applied"

// BootApplied tells whether the persisted limit was applied in this boot already, so that an administrator's later
// change stands over a restart of the agent.
func (a *Applier) BootApplied() bool {
	dir, err := os.OpenRoot(a.cfg.RuntimeDir)
	if err != nil {
		return false
	}
	defer dir.Close()
	data, err := readSmall(dir, bootFile)
	return err == nil && strings.TrimSpace(string(data)) == a.cfg.BootID
}

// MarkBootApplied records that the persisted limit was applied, or need not be, in this boot.
func (a *Applier) MarkBootApplied() error {
	dir, err := a.runtime()
	if err != nil {
		return fmt.Errorf("mark the boot: %w", err)
	}
	defer dir.Close()
	a.cfg.Fail(StageBeforeBootMark)
	if err := replaceForBoot(dir, bootFile, []byte(a.cfg.BootID+"\n")); err != nil {
		return fmt.Errorf("mark the boot: %w", err)
	}
	a.cfg.Fail(StageAfterBootMark)
	return nil
}
