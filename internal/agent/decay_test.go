package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// twoSteps has the kernel refuse until the limit is at 262144 and made to last.
func (f *fragile) twoSteps(t *testing.T, a *Agent) {
	t.Helper()
	a.turn()
	for _, count := range []int{65536, 131072} {
		elapse(time.Second)
		f.traffic(t, count, f.refused+500)
		a.turn()
	}
	a.pass(4)
	if got := f.limit(t); got != "262144" {
		t.Fatalf("limit %s after two steps", got)
	}
}

// wantPersisted fails the test unless the sysctl.d file keeps that limit; 0: unless there is none.
func (f *fragile) wantPersisted(t *testing.T, a *Agent, want uint64) {
	t.Helper()
	p, _, err := a.applier.Persisted()
	if err != nil || p.Max != want {
		t.Errorf("persisted %d (%v), want %d", p.Max, err, want)
	}
}

// TestDecay steps back down after a minute of quiet, each step after another minute, to the limit found at the start.
func TestDecay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { newFragile(t).decays(t) })
}

// decays has the sysctl.d file come with two steps and follow them back.
func (f *fragile) decays(t *testing.T) {
	t.Helper()
	f.live(t, 0, func(a *Agent) {
		f.twoSteps(t, a)
		f.wantPersisted(t, a, 262144)
		f.traffic(t, 100, f.refused)
		a.pass(60) // ten seconds of them until the incident is closed
		if got := f.limit(t); got != "262144" {
			t.Fatalf("limit %s before a minute of quiet", got)
		}
		a.pass(15)
		if got := f.limit(t); got != "131072" {
			t.Fatalf("limit %s after a minute of quiet", got)
		}
		f.wantPersisted(t, a, 131072)
	})
	f.live(t, 0, func(a *Agent) { // a restart costs the time in which nobody watched, and no more
		elapse(time.Hour)
		a.pass(30)
		if got := f.limit(t); got != "131072" {
			t.Fatalf("limit %s: a time that nobody watched was counted", got)
		}
		a.pass(31)
		if got := f.limit(t); got != "65536" {
			t.Fatalf("limit %s after another minute of quiet", got)
		}
		f.wantPersisted(t, a, 0)
		a.pass(130)
		last := a.steps[len(a.steps)-1]
		if f.limit(t) != "65536" || last.From != 131072 || last.To != 65536 || last.Reason != remediate.ReasonDecay {
			t.Errorf("limit %s, last step %+v", f.limit(t), last)
		}
		f.agree(t, a, "after decay")
	})
}

// TestNoDecay has what holds a step back down back.
func TestNoDecay(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*testing.T, *fragile, *Agent)
	}{
		{"not configured", func(_ *testing.T, _ *fragile, a *Agent) { a.reload(withDecay(a.cfg, 0)) }},
		{"observing", func(_ *testing.T, _ *fragile, a *Agent) {
			cfg := a.cfg
			cfg.Policy.Mode = remediate.ModeObserve
			a.reload(cfg)
		}},
		{"held", func(_ *testing.T, _ *fragile, a *Agent) { a.hold(Command{Verb: VerbHold, By: "test"}) }},
		{"in use", func(t *testing.T, f *fragile, _ *Agent) { f.traffic(t, 262144/4, f.refused) }},
		{"raised by hand", func(t *testing.T, f *fragile, a *Agent) {
			if r := a.raise(300000); !r.Done {
				t.Fatal(r.Text)
			}
		}},
		{"somebody else's limit", func(t *testing.T, f *fragile, _ *Agent) {
			f.table(t, 100, 300000, f.refused)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFragile(t)
				f.live(t, 0, func(a *Agent) {
					f.twoSteps(t, a)
					f.traffic(t, 100, f.refused)
					c.do(t, f, a)
					a.turn()
					before := f.limit(t)
					a.pass(200)
					if got := f.limit(t); got != before {
						t.Errorf("limit %s, was %s", got, before)
					}
				})
			})
		})
	}
}

func withDecay(cfg Config, decay time.Duration) Config {
	cfg.Policy.Decay = decay
	return cfg
}

// TestDecayLeavesWhatIsInUse goes down to twice the live entries.
func TestDecayLeavesWhatIsInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFragile(t)
		f.cfg.Policy.Step, f.cfg.Policy.MaxStep = 4, 4
		f.live(t, 0, func(a *Agent) {
			a.turn()
			f.traffic(t, 65536, 500)
			a.turn()
			f.traffic(t, 60000, 500)
			a.pass(80)
			if got := f.limit(t); got != "120000" {
				t.Errorf("limit %s, want twice the live entries", got)
			}
			if r, _ := a.revert(false); r.Done { // 65536 is too near to 60,000 entries
				t.Errorf("reverted to %s", f.limit(t))
			}
			f.traffic(t, 100, 500)
			a.turn()
			a.turn()
			elapse(2 * time.Second)
			a.turn()
			if r, _ := a.revert(false); !r.Done || f.limit(t) != "65536" {
				t.Errorf("revert of what is left of the step: %+v, limit %s", r, f.limit(t))
			}
		})
	})
}

func TestDecayBase(t *testing.T) {
	by := func(reason remediate.Reason, s remediate.Step) remediate.Step { s.Reason = reason; return s }
	full := func(from, to uint64) remediate.Step { return by(remediate.ReasonFull, reached(from, to)) }
	hand := func(from, to uint64) remediate.Step { return by(remediate.ReasonManual, reached(from, to)) }
	boot := func(from, to uint64) remediate.Step { return by(remediate.ReasonBoot, reached(from, to)) }
	decay := func(from, to uint64) remediate.Step { return by(remediate.ReasonDecay, reached(from, to)) }
	for _, c := range []struct {
		name  string
		steps []remediate.Step
		limit uint64
		want  uint64
	}{
		{"nothing", nil, 1000, 0},
		{"a chain", []remediate.Step{full(1000, 2000), full(2000, 4000)}, 4000, 1000},
		{"somebody else's limit", []remediate.Step{full(1000, 2000)}, 3000, 0},
		{"from somebody else's limit", []remediate.Step{full(1000, 2000), full(3000, 6000)}, 6000, 3000},
		{"part of a step taken back", []remediate.Step{full(1000, 8000), decay(8000, 4000)}, 4000, 1000},
		{"a part, and another", []remediate.Step{full(1000, 8000), decay(8000, 4000), decay(4000, 2000)}, 2000, 1000},
		{"a part, then up again", []remediate.Step{full(1000, 8000), decay(8000, 4000), full(4000, 8000)}, 8000, 1000},
		{"all of it", []remediate.Step{full(1000, 8000), decay(8000, 1000)}, 1000, 0},
		{"by hand", []remediate.Step{hand(1000, 2000)}, 2000, 2000},
		{"by hand, then full", []remediate.Step{hand(1000, 3000), full(3000, 6000)}, 6000, 3000},
		{"by hand and taken back", []remediate.Step{hand(1000, 3000), hand(3000, 1000), full(1000, 4000)}, 4000, 1000},
		{"by hand, lowered by somebody else", []remediate.Step{hand(1000, 3000), full(1500, 6000)}, 6000, 1500},
		{"persisted", []remediate.Step{full(1000, 2000), full(2000, 4000), boot(1000, 4000)}, 4000, 1000},
		{"persisted from a step by hand", []remediate.Step{hand(1000, 3000), full(3000, 6000), boot(1000, 6000)}, 6000, 3000},
		{"persisted, then decayed", []remediate.Step{full(1000, 4000), boot(1000, 4000), decay(4000, 2000)}, 2000, 1000},
		{"never written", []remediate.Step{full(1000, 2000), {From: 2000, To: 9000, Reason: remediate.ReasonManual}}, 2000, 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := decayBase(c.steps, c.limit); got != c.want {
				t.Errorf("base %d, want %d", got, c.want)
			}
		})
	}
}

// TestQuietOutlivesAKill: a kill costs a part of it, and does not bring back what was over.
func TestQuietOutlivesAKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFragile(t)
		f.cfg.Policy.Decay = time.Hour
		f.live(t, 0, func(a *Agent) { a.pass(300) })
		f.live(t, 0, func(a *Agent) {
			if got := a.tracker.Quiet(); got < 2*time.Minute || got > 5*time.Minute {
				t.Errorf("quiet for %s after the first life", got)
			}
			f.traffic(t, 30000, 0)
			a.pass(2)
		})
		f.live(t, 0, func(a *Agent) {
			if got := a.tracker.Quiet(); got != 0 {
				t.Errorf("quiet for %s although it was not", got)
			}
		})
	})
}
