package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// raised is a host whose limit an operator raised by hand, for good.
type raised struct {
	lock *testkernel.Lock
	dir  string // of state_dir and runtime_dir
	file string // the sysctl.d file
}

// raisedTo is the limit there.
const raisedTo = 50000

func newRaised(t *testing.T) raised {
	t.Helper()
	lock := testkernel.Hold(t)
	setMax(t, lock, limit)
	a := newFailing(t, plain())
	a.start(t)
	a.wantCommand(t, 0, nil, "raise", "--to", fmt.Sprint(raisedTo))
	a.said(t, 1, "step.confirmed")
	a.stop(t, syscall.SIGTERM)
	a.wantFile(t, raisedTo)
	text, err := os.ReadFile(a.persisted)
	if err != nil {
		t.Fatal(err)
	}
	return raised{lock: lock, dir: a.dir, file: string(text)}
}

// again makes another host of it, with a hub.
func (r raised) again(t *testing.T) (*agentProcess, *hub) {
	t.Helper()
	h := startHub(t)
	a := newFailing(t, plain(h.url))
	if err := os.CopyFS(filepath.Join(a.dir, "state"), os.DirFS(filepath.Join(r.dir, "state"))); err != nil {
		t.Fatal(err)
	}
	writeFile(t, a.persisted, r.file, 0o644)
	setMax(t, r.lock, raisedTo)
	return a, h
}

// TestPromiseKilledInAnUndo kills whoever takes a step back, the agent or the command, at each stage.
func TestPromiseKilledInAnUndo(t *testing.T) {
	host := newRaised(t)
	kills := []struct {
		stage string
		wrote bool
		says  string
		agent bool // the running agent carries it out, else the command
	}{
		{"intent", false, "was not written", false},
		{"first_key", true, "was set from 50000 to 20000", false},
		{"both_keys", true, "was set from 50000 to 20000", false},
		{"read_back", true, "was set from 50000 to 20000", false},
		{"outcome", true, "was set from 50000 to 20000", false},
		// The file goes while the undo is being saved: either may be first.
		{"before_withdraw", true, "was (set from 50000 to 20000|saved)", true},
		{"after_withdraw", true, "was (set from 50000 to 20000|saved)", true},
		{"before_commit", true, "was set from 50000 to 20000", true},
		{"after_commit", true, "was saved", true},
		{"after_commit", true, "was saved", false},
		{"after_forget", true, "", true},
	}
	done := 0
	for _, k := range kills {
		t.Run(fmt.Sprint(k.stage, " agent ", k.agent), func(t *testing.T) {
			a, h := host.again(t)
			starts := 1
			if k.agent {
				starts = 2
				a.start(t, until(k.stage)...)
				h.wait(t, remediate.EventAgentStarted, 1)
				a.command(t, "revert") // which gets no answer
				a.killed(t)
			} else {
				a.orderUntilKilled(t, k.stage, "revert")
			}
			a.start(t)
			h.started(t, starts, k.says)
			if !k.wrote {
				a.agree(t, h, raisedTo)
				a.wantFile(t, raisedTo)
				a.wantCommand(t, 0, []string{"taken back from 50000 to 20000"}, "revert")
			}
			back := h.wait(t, remediate.EventStepReverted, 1).Data.(remediate.Step)
			if back.From != raisedTo || back.To != limit || back.Reason != remediate.ReasonManual {
				t.Errorf("reverted %+v", back)
			}
			a.agree(t, h, limit)
			a.wantFile(t, 0)
			a.stop(t, syscall.SIGTERM)
			h.once(t)
			done++
		})
	}
	testhost.Held(t, "3.3 killed in an undo",
		"killed at %d stages of a revert: kernel, sysctl.d file, journal of steps and events agree after each", done)
}

// TestPromiseKilledAtBoot kills the agent at each stage of the step to the persisted limit, which is taken once a boot.
func TestPromiseKilledAtBoot(t *testing.T) {
	host := newRaised(t)
	stages := []string{"intent", "first_key", "outcome", "before_boot_mark", "after_boot_mark", "before_commit", "after_commit"}
	done := 0
	for _, stage := range stages {
		t.Run(stage, func(t *testing.T) {
			a, h := host.again(t)
			setMax(t, host.lock, limit)
			a.startUntilKilled(t, stage)
			a.start(t)
			applied := h.wait(t, remediate.EventStepApplied, 1).Data.(remediate.Step)
			if applied.From != limit || applied.To != raisedTo || applied.Reason != remediate.ReasonBoot {
				t.Errorf("applied %+v", applied)
			}
			a.agree(t, h, raisedTo)
			a.stop(t, syscall.SIGKILL)
			setMax(t, host.lock, 30000) // an administrator's change, which stands
			a.start(t)
			h.wait(t, remediate.EventLimitChanged, 1)
			a.stop(t, syscall.SIGTERM)
			wantLimit(t, 30000)
			if n := len(h.of(remediate.EventStepApplied)); n != 1 {
				t.Errorf("%d steps, want one", n)
			}
			h.once(t)
			done++
		})
	}
	testhost.Held(t, "3.4 killed at boot",
		"killed at %d stages of the step to the persisted limit: taken once in the boot, and not again over somebody's change", done)
}

// TestPromiseKilledWhilePersisting kills the agent while it makes a step last, and while it withdraws its file in
// favour of one that sets more.
func TestPromiseKilledWhilePersisting(t *testing.T) {
	host := newRaised(t)
	stages := []string{"before_persist", "after_persist", "before_withdraw", "after_withdraw"}
	done := 0
	for _, stage := range stages {
		t.Run(stage, func(t *testing.T) {
			a, h := host.again(t)
			more := strings.HasSuffix(stage, "withdraw")
			if more {
				other := fmt.Sprintf("/etc/sysctl.d/10-ctwarden-e2e-%d.conf", os.Getpid())
				t.Cleanup(func() { os.Remove(other) })
				writeFile(t, other, "net.netfilter.nf_conntrack_max = 100000\n", 0o644)
			}
			a.start(t, until(stage)...)
			a.wantCommand(t, 0, nil, "raise", "--to", "60000")
			a.killed(t)
			a.start(t)
			confirmed := h.wait(t, remediate.EventStepConfirmed, 1).Data.(remediate.Step)
			if confirmed.To != 60000 || confirmed.Outcome != remediate.OutcomeEffective ||
				more != strings.Contains(confirmed.Error, "sets 100000 already") || more != (confirmed.Persisted == "") {
				t.Errorf("confirmed %+v", confirmed)
			}
			if stage == "after_persist" {
				h.started(t, 2, "had been made to last")
			}
			a.agree(t, h, 60000)
			if more {
				a.wantFile(t, 0)
			} else {
				a.wantFile(t, 60000)
			}
			a.stop(t, syscall.SIGTERM)
			h.once(t)
			done++
		})
	}
	testhost.Held(t, "3.5 killed while a limit is made to last",
		"killed at %d stages of writing and withdrawing the sysctl.d file: file, journal of steps and events agree after each", done)
}
