package agent

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// TestRevertKilledBeforeTheFileFollowed kills the agent when a revert is committed and the job that brings the sysctl.d
// file in line has not run: the next start must run it.
func TestRevertKilledBeforeTheFileFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFragile(t)
		f.live(t, 0, crashActs(t, f)["revert"][0])
		f.live(t, 0, func(a *Agent) {
			a.turn()
			if _, rest := a.revert(false); rest == nil {
				t.Fatal("nothing is left to do about the file")
			}
			a.save(false)
			if !a.recorder.commit(context.Background()) {
				t.Fatal("not committed")
			}
		})
		if _, there, err := f.persisted(t); err != nil || !there {
			t.Fatalf("the file is gone before the job ran: %v", err)
		}
		f.live(t, 0, func(a *Agent) { a.turn(); f.traffic(t, 100, f.refused); a.pass(20) })
		f.live(t, 0, func(a *Agent) { f.agree(t, a, "killed behind the commit, before the file") })
	})
}

func (f *fragile) persisted(t *testing.T) (p apply.Persisted, there bool, err error) {
	t.Helper()
	f.live(t, 0, func(a *Agent) { p, there, err = a.applier.Persisted() })
	return p, there, err
}

// TestHeldAfterAStep makes a hold right behind a step that does not help: nothing is undone by the agent itself.
func TestHeldAfterAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFragile(t)
		acts := crashActs(t, f)["ineffective"]
		f.live(t, 0, acts[0])
		before := f.limit(t)
		if err := apply.SetHold(f.cfg.StateDir, remediate.Hold{Since: time.Now(), By: "me"}); err != nil {
			t.Fatal(err)
		}
		f.live(t, 0, func(a *Agent) {
			acts[1](a)
			if s := a.steps[len(a.steps)-1]; s.Outcome != remediate.OutcomeIneffective || !strings.Contains(s.Error, "not undone") {
				t.Errorf("the step is %+v", s)
			}
		})
		if after := f.limit(t); after != before || before == "65536" {
			t.Errorf("held, and yet the limit went from %s to %s", before, after)
		}
	})
}

// TestUndoFails: a step did not help and cannot be taken back. On-call is told, once.
func TestUndoFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFragile(t)
		acts := crashActs(t, f)["ineffective"]
		f.live(t, 0, acts[0])
		f.cfg.Fail = func(stage string) {
			if stage == apply.StageIntent { // somebody else writes the limit just before the undo does
				f.put(t, "proc/sys/net/netfilter/nf_conntrack_max", "70000\n")
				f.put(t, "proc/sys/net/nf_conntrack_max", "70000\n")
			}
		}
		f.live(t, 0, func(a *Agent) {
			acts[1](a)
			var told []remediate.Step
			waiting, err := a.disk.store.Load().Peek(0, 10000)
			if err != nil {
				t.Fatal(err)
			}
			for _, ev := range waiting {
				if r, err := notify.Decode(ev.Body); err == nil && ev.Type == remediate.EventStepFailed {
					told = append(told, r.Event.Data.(remediate.Step))
				}
			}
			if len(told) != 1 || told[0].Reason != remediate.ReasonIneffective || told[0].From != 131072 || told[0].To != 65536 ||
				!strings.Contains(told[0].Error, "70000") || told[0].IncidentID == "" {
				t.Errorf("told %+v", told)
			}
		})
	})
}

// TestOrderOnAFrozenDisk gives an order where no agent runs and the disk does not answer.
func TestOrderOnAFrozenDisk(t *testing.T) {
	f := newScratch(t)
	frozen := make(chan struct{})
	defer close(frozen)
	f.cfg.Fail = func(stage string) {
		if stage == StageBeforeCommit {
			<-frozen
		}
	}
	a, err := Open(t.Context(), f.cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	type answer struct {
		Reply
		err error
	}
	done := make(chan answer, 1)
	go func() {
		r, err := a.Once(ctx, Command{Verb: VerbRaise, To: 131072})
		done <- answer{r, err}
	}()
	select {
	case r := <-done:
		if r.err != nil || !r.Done || !strings.Contains(r.Text, "the next start books it") {
			t.Errorf("%+v, %v", r.Reply, r.err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the order does not come back")
	}
}
