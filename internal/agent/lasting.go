package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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
		return asked{helper, a.applier}
	}
	return alone{a.applier, a.cfg.PersistSocket}
}

// asked has root's helper do it. A helper that hangs up without an answer, as one that was killed does, is asked once more;
// should that one not answer either, or one take too long, the file tells what became of it.
type asked struct {
	helper lasting
	files  *apply.Applier // to look
}

// unheard tells whether the helper may have done what it was asked for, although it did not say so.
func unheard(err error) bool {
	return errors.Is(err, persist.ErrNoAnswer) || errors.Is(err, os.ErrDeadlineExceeded)
}

// Persist implements lasting.
func (a asked) Persist(s remediate.Step, m apply.PersistMeta) (apply.Persistence, error) {
	p, err := a.helper.Persist(s, m)
	if errors.Is(err, persist.ErrNoAnswer) {
		p, err = a.helper.Persist(s, m)
	}
	if !unheard(err) {
		return p, err
	}
	if found, ok := a.files.Find(s); ok {
		return found, nil
	}
	return p, err
}

// Unpersist implements lasting.
func (a asked) Unpersist() (bool, error) {
	_, before, _ := a.files.Persisted() // what is there and damaged was there
	removed, err := a.helper.Unpersist()
	if !unheard(err) {
		return removed, err
	}
	if errors.Is(err, persist.ErrNoAnswer) { // the second one finds nothing to remove where the first one did it
		removed, err = a.helper.Unpersist()
	}
	if _, after, lookErr := a.files.Persisted(); lookErr == nil && !after {
		removed = removed || before
	}
	return removed, err
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
