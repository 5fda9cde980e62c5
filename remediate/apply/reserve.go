package apply

import (
	"errors"
	"os"
	"syscall"
)

// The reserve takes up room in runtime_dir that is given up for an intent where there is no other: a step must not wait
// until somebody tidies a full /run. Its size is that of a few intents with their incidents.
const (
	reserveFile = "reserve"
	reserveSize = 32 << 10
)

// KeepReserve takes the room where it is not taken, and is to be called now and then by whoever takes steps. Where there is
// none, steps need what is free when they come, and say so.
func (a *Applier) KeepReserve() {
	dir, err := a.runtime()
	if err != nil {
		return
	}
	defer dir.Close()
	if info, err := dir.Stat(reserveFile); err == nil && info.Size() == reserveSize {
		return
	}
	if dir.WriteFile(reserveFile, make([]byte, reserveSize), 0o600) != nil {
		_ = dir.Remove(reserveFile) // a part of it is worth nothing
	}
}

// withReserve has write try again with the reserve's room, where there was none.
func withReserve(dir *os.Root, write func() error) error {
	err := write()
	if !errors.Is(err, syscall.ENOSPC) || dir.Remove(reserveFile) != nil {
		return err
	}
	return write()
}
