package agent

import (
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

// lasting is this process itself where it may write the sysctl.d file, else root's helper. Where there is none either, the
// file's own error is what is to be said.
func (a *Agent) lasting() lasting {
	if a.cfg.PersistSocket == "" || a.applier.MayPersist() {
		return a.applier
	}
	if helper := persist.NewClient(a.cfg.PersistSocket); helper.There() {
		return helper
	}
	return a.applier
}
