package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// TestRefusedAtBoot has a hold be in force when the persisted limit is due. It is told once, and the limit comes into force
// when the hold is released, unless somebody else has set another meanwhile.
func TestRefusedAtBoot(t *testing.T) {
	setTo := func(limit int) func(*testing.T, *fragile, *Agent) {
		return func(t *testing.T, f *fragile, _ *Agent) { f.table(t, 100, limit, 0) }
	}
	for _, c := range []struct {
		name      string
		meanwhile func(*testing.T, *fragile, *Agent)
		want      string
	}{
		{"released", setTo(65536), "262144"},
		{"lowered by somebody else", setTo(50000), "50000"},
		{"raised by somebody else", setTo(100000), "100000"},
		{"raised by the agent", func(t *testing.T, _ *fragile, a *Agent) {
			if r := a.raise(131072); !r.Done {
				t.Fatal(r.Text)
			}
		}, "262144"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFragile(t)
				f.live(t, 0, func(a *Agent) {
					persisted := remediate.Step{From: 65536, To: 262144, Reason: remediate.ReasonFull}
					if _, err := a.applier.Persist(persisted, apply.PersistMeta{}); err != nil {
						t.Fatal(err)
					}
					if err := apply.SetHold(f.cfg.StateDir, remediate.Hold{Since: time.Now(), By: "me"}); err != nil {
						t.Fatal(err)
					}
					a.pass(60)
					refused := a.stepsTold(t, remediate.EventStepRefused)
					if len(refused) != 1 || refused[0].Reason != remediate.ReasonHeld || f.limit(t) != "65536" || a.notes[noteBoot] == "" {
						t.Fatalf("limit %s, told %+v, notes %v", f.limit(t), refused, a.notes)
					}
					c.meanwhile(t, f, a)
					a.pass(1)
					if _, err := apply.ClearHold(f.cfg.StateDir); err != nil {
						t.Fatal(err)
					}
					a.pass(20)
					if f.limit(t) != c.want || a.notes[noteBoot] != "" || !a.applier.BootApplied() {
						t.Errorf("limit %s, want %s; notes %v", f.limit(t), c.want, a.notes)
					}
				})
			})
		})
	}
}
