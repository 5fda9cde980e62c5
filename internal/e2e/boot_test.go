package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestBoot has a limit persisted, and then a boot: the kernel's limit is the default again and runtime_dir is gone.
func TestBoot(t *testing.T) {
	lock := testkernel.Hold(t)
	h := startHub(t)
	a := newAgent(t, t.TempDir(), plain(h.url))
	setMax(t, lock, limit)
	a.wantCommand(t, 0, nil, "raise", "--to", "50000")
	a.wantFile(t, 50000)

	a.boot(t, lock)
	a.configure(t, strings.Replace(plain(h.url), "mode: remediate", "mode: observe", 1))
	a.run(t)
	wantLimit(t, limit) // observe mode changes nothing

	a.boot(t, lock)
	a.configure(t, plain(h.url))
	a.wantCommand(t, 0, nil, "hold")
	a.run(t)
	wantLimit(t, limit) // nor does an agent that is held
	a.wantCommand(t, 0, nil, "unhold")

	a.boot(t, lock)
	a.run(t)
	wantLimit(t, 50000)
	a.run(t)
	setMax(t, lock, 40000) // an administrator's change, with the agent away
	a.run(t)
	wantLimit(t, 40000)
	a.start(t)
	setMax(t, lock, 30000) // and before its eyes
	testhost.Eventually(t, "the change is seen", func() bool { return len(h.of(remediate.EventLimitChanged)) > 1 })
	a.stop(t, syscall.SIGTERM)
	a.run(t)
	wantLimit(t, 30000)

	a.boot(t, lock)
	setMax(t, lock, 60000) // more than is persisted: nothing is lowered
	a.run(t)
	wantLimit(t, 60000)
	a.wantFile(t, 50000)

	h.wait(t, remediate.EventAgentStopped, 7) // of eight; the last one's may have to wait for the next start
	var boot []remediate.Step
	for _, r := range h.of(remediate.EventStepApplied) {
		if s := r.Event.Data.(remediate.Step); s.Reason == remediate.ReasonBoot {
			boot = append(boot, s)
		}
	}
	if len(boot) != 1 || boot[0].From != limit || boot[0].To != 50000 || boot[0].Keys["net.nf_conntrack_max"] != 50000 {
		t.Errorf("applied at boot: %+v; want one step to 50000", boot)
	}
	for _, r := range h.of(remediate.EventStepRefused) {
		if s := r.Event.Data.(remediate.Step); s.Trigger != remediate.ReasonBoot || s.Reason != remediate.ReasonHeld {
			t.Errorf("refused %+v", s)
		}
	}
	h.once(t)
}

// boot makes things look as they do after one.
func (a *agentProcess) boot(t *testing.T, lock *testkernel.Lock) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(a.dir, "run")); err != nil {
		t.Fatal(err)
	}
	setMax(t, lock, limit)
}

// run starts the agent and stops it once it is ready.
func (a *agentProcess) run(t *testing.T) {
	t.Helper()
	a.start(t)
	a.stop(t, syscall.SIGTERM)
}

func setMax(t *testing.T, lock *testkernel.Lock, to uint64) {
	t.Helper()
	if err := lock.SetMax(to); err != nil {
		t.Fatal(err)
	}
}
