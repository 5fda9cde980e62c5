package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// otherBoot is the id of a boot that is over.
const otherBoot = "01234567-89ab-cdef-0123-456789abcdef"

// reboot makes things look as they do after one: the kernel's limit is the default, and what was saved is of another
// boot. What is in runtime_dir goes too, unless that is not memory.
func (f *fragile) reboot(t *testing.T, bootID string, kept bool) {
	t.Helper()
	f.move(t)
	f.table(t, 100, 65536, 0)
	if !kept {
		if err := os.RemoveAll(f.cfg.RuntimeDir); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range f.intents(t) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, bytes.ReplaceAll(text, []byte(bootID), []byte(otherBoot)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store, _, err := state.Open(filepath.Join(f.cfg.StateDir, "state.db"), state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	snap, err := store.Load()
	if err != nil {
		t.Fatal(err)
	}
	old := bytes.ReplaceAll(snap.Tracker, []byte(bootID), []byte(otherBoot))
	if _, err := store.Commit(state.Change{Tracker: old}); err != nil {
		t.Fatal(err)
	}
}

func (f *fragile) intents(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(f.cfg.RuntimeDir, "intent-*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// stepsTold lists the steps that the events in the outbox tell of.
func (a *Agent) stepsTold(t *testing.T, typ remediate.EventType) []remediate.Step {
	t.Helper()
	events, err := a.disk.store.Load().Peek(0, 10000)
	if err != nil {
		t.Fatal(err)
	}
	var out []remediate.Step
	for _, ev := range events {
		if ev.Type != typ {
			continue
		}
		r, err := notify.Decode(ev.Body)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r.Event.Data.(remediate.Step))
	}
	return out
}

// TestPromisePowerLostInAStep has the machine go down at a stage of a step. The next boot drops what was intended, and says so.
func TestPromisePowerLostInAStep(t *testing.T) {
	cases := []struct {
		name  string
		stage string // the last one that is reached
		kept  bool   // runtime_dir is no memory, as where somebody set it so
		says  string
		told  bool // of the step, before the power was lost
	}{
		{"nothing saved", apply.StageOutcome, false, "", false},
		{"nothing saved but the intent", apply.StageOutcome, true, "was cut short by a reboot, and is dropped", false},
		{"the step is saved", StageAfterCommit, false, "", true},
		{"the step is saved, and its intent left", StageAfterCommit, true, "was saved", true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFragile(t)
				var bootID string
				act := func(a *Agent) { bootID = a.bootID; crashActs(t, f)["step"][1](a) }
				f.live(t, 0, func(a *Agent) { a.turn() })
				copied := f.cfg
				f.live(t, 0, act)
				k := index(f.stages, c.stage)
				f.cfg.StateDir, f.cfg.RuntimeDir = copied.StateDir, copied.RuntimeDir
				f.table(t, 100, 65536, 0)
				if !f.live(t, k, act) {
					t.Fatalf("no stage %s in %v", c.stage, f.stages)
				}
				f.reboot(t, bootID, c.kept)
				f.live(t, 0, func(a *Agent) { f.afterReboot(t, a, c.says, c.told) })
			})
		})
	}
	testhost.Held(t, "3.8 power lost in a step", "%d states that a power loss can leave: the intent of the boot before was "+
		"dropped and said so, nothing was told that was not saved, and a step without an outcome was booked as not persisted", len(cases))
}

func (f *fragile) afterReboot(t *testing.T, a *Agent, says string, told bool) {
	a.turn()
	if said := strings.Join(a.recovered, "\n"); !strings.Contains(said, says) || says == "" && said != "" {
		t.Errorf("the start says %q, want %q", said, says)
	}
	a.pass(4)
	if f.limit(t) != "65536" || len(f.intents(t)) > 0 {
		t.Errorf("limit %s, intents %v", f.limit(t), f.intents(t))
	}
	if r, _ := a.revert(false); r.Done || r.Reason != remediate.ReasonForeignChange {
		t.Errorf("a revert takes back a step of another boot: %+v", r)
	}
	if n := len(a.stepsTold(t, remediate.EventStepApplied)); n != btoi(told) {
		t.Errorf("%d steps told of", n)
	}
	confirmed := a.stepsTold(t, remediate.EventStepConfirmed)
	if len(confirmed) != btoi(told) || told && (confirmed[0].Persisted != "" || !strings.Contains(confirmed[0].Error, "went down")) {
		t.Errorf("confirmed %+v", confirmed)
	}
}

// TestPowerLostBeforeThePersistedStepWasBooked has the sysctl.d file on the disk, and its step without an outcome.
func TestPowerLostBeforeThePersistedStepWasBooked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFragile(t)
		acts := crashActs(t, f)["persist"]
		var bootID string
		f.live(t, 0, func(a *Agent) { bootID = a.bootID; acts[0](a) })
		if !f.live(t, 2, acts[1]) || f.stages[1] != apply.StageAfterPersist {
			t.Fatalf("killed at %v", f.stages)
		}
		f.reboot(t, bootID, false)
		f.live(t, 0, func(a *Agent) {
			a.turn()
			a.pass(4)
			confirmed := a.stepsTold(t, remediate.EventStepConfirmed)
			if len(confirmed) != 2 || confirmed[0].Persisted != f.cfg.PersistFile || confirmed[0].Outcome != remediate.OutcomeEffective ||
				confirmed[1].Reason != remediate.ReasonBoot {
				t.Errorf("confirmed %+v", confirmed)
			}
			if f.limit(t) != "131072" {
				t.Errorf("limit %s, want the persisted one", f.limit(t))
			}
		})
	})
}

// TestStateOlderThanTheKernel has a limit that the state file knows nothing of, and no intent: somebody removed
// runtime_dir, or put back an old state_dir. Nothing is made up.
func TestStateOlderThanTheKernel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFragile(t)
		f.live(t, 0, func(a *Agent) { a.turn() })
		f.table(t, 100, 131072, 0)
		if err := os.RemoveAll(f.cfg.RuntimeDir); err != nil {
			t.Fatal(err)
		}
		f.live(t, 0, func(a *Agent) {
			a.turn()
			a.pass(4)
			if n := len(a.stepsTold(t, remediate.EventStepApplied)); n > 0 || len(a.steps) > 0 || f.limit(t) != "131072" {
				t.Errorf("%d steps told of, journal %+v, limit %s", n, a.steps, f.limit(t))
			}
			if r, _ := a.revert(false); r.Done {
				t.Errorf("somebody else's limit is taken back: %+v", r)
			}
		})
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// index is the place of a stage, from 1.
func index(stages []string, stage string) int {
	for i, s := range stages {
		if s == stage {
			return i + 1
		}
	}
	return 0
}
