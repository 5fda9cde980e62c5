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
		return asked{helper, a.applier}
	}
	return alone{a.applier, a.cfg.PersistSocket}
}

// asked has root's helper do it. A helper that hangs up without an answer, as one that was killed does, is asked once more;
// should that one not answer either, the file tells what became of it.
type asked struct {
	helper persist.Client
	files  *apply.Applier // to look
}

// Persist implements lasting.
func (a asked) Persist(s remediate.Step, m apply.PersistMeta) (apply.Persistence, error) {
	p, err := a.helper.Persist(s, m)
	if errors.Is(err, persist.ErrNoAnswer) {
		p, err = a.helper.Persist(s, m)
	}
	if !errors.Is(err, persist.ErrNoAnswer) {
		return p, err
	}
	file, there, lookErr := a.files.Persisted()
	if lookErr == nil && there && (file.StepID == s.ID || s.To > s.From && file.Max >= s.To) {
		return apply.Persistence{Path: file.Path, Max: file.Max, Buckets: file.Buckets}, nil
	}
	return p, err
}

// Unpersist implements lasting.
func (a asked) Unpersist() (bool, error) {
	_, before, _ := a.files.Persisted() // what is there and damaged was there
	removed, err := a.helper.Unpersist()
	if !errors.Is(err, persist.ErrNoAnswer) {
		return removed, err
	}
	removed, err = a.helper.Unpersist()
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
