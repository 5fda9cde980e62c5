package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/ctwarden/ctwarden/internal/persist"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// lasting makes a limit outlast a reboot, and takes that back. Either may wait for a disk, or for the helper, so it is
// for the recorder's jobs and not for the loop.
type lasting interface {
	Persist(s remediate.Step, m apply.PersistMeta) (apply.Persistence, error)
	Unpersist() (removed bool, err error)
}

// lasting is this process itself where it may write the sysctl.d file, else root's helper.
func (a *Agent) lasting() lasting {
	if a.cfg.PersistSocket == "" || a.applier.MayPersist() {
		return a.applier
	}
	if helper := persist.NewClient(a.cfg.PersistSocket); helper.There() {
		return helper
	}
	return alone{a.applier, a.cfg.PersistSocket}
}

// alone may not write the file and has nobody to ask. It tries, and adds to the error what can be done.
type alone struct {
	*apply.Applier
	socket string
}

// Persist implements lasting.
func (a alone) Persist(s remediate.Step, m apply.PersistMeta) (apply.Persistence, error) {
	p, err := a.Applier.Persist(s, m)
	return p, a.explain(err)
}

// Unpersist implements lasting.
func (a alone) Unpersist() (bool, error) {
	removed, err := a.Applier.Unpersist()
	return removed, a.explain(err)
}

func (a alone) explain(err error) error {
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) {
		return err
	}
	return fmt.Errorf("%w; nobody answers at %s either: systemctl start ctwarden-persist.socket", err, a.socket)
}
