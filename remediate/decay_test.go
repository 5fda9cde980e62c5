package remediate

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// emptied is a host whose limit ctwarden raised from 65,536 to 524,288 and that has been nearly empty for a day.
func emptied() (Policy, Situation, Decay) {
	p, s := allowed(), refusing()
	p.Decay = 24 * time.Hour
	s.Ask, s.Limits.Max = Ask{Reason: ReasonDecay}, 524288
	return p, s, Decay{Quiet: 24 * time.Hour, Live: 1000, Found: 65536, Base: 65536}
}

func TestDecideDecay(t *testing.T) {
	for _, c := range []struct {
		name   string
		edit   func(*Policy, *Situation, *Decay)
		reason Reason
		do     bool
		to     uint64
	}{
		{"one step", func(*Policy, *Situation, *Decay) {}, ReasonDecay, true, 262144},
		{"by the factor of a step, rounded up", func(p *Policy, _ *Situation, _ *Decay) { p.Step = 3 }, ReasonDecay, true, 174763},
		{"twice the most entries of that time", func(p *Policy, _ *Situation, y *Decay) { p.Step, y.Peak = 4, 96000 }, ReasonDecay, true, 192000},
		{"twice the live entries", func(_ *Policy, _ *Situation, y *Decay) { y.Live = 131071 }, ReasonDecay, true, 262144},
		{"more live entries than half a step", func(p *Policy, _ *Situation, y *Decay) { p.Step, y.Live = 4, 100000 }, ReasonDecay, true, 200000},
		{"the limit found at first", func(_ *Policy, _ *Situation, y *Decay) { y.Found = 300000 }, ReasonDecay, true, 300000},
		{"what others or an operator set", func(_ *Policy, _ *Situation, y *Decay) { y.Base = 400000 }, ReasonDecay, true, 400000},
		{"stall and memory do not matter", func(p *Policy, s *Situation, _ *Decay) {
			p.MemoryShare, p.Ceiling, s.Memory, s.Chains = 0, 100, Memory{}, ChainsShort
		}, ReasonDecay, true, 262144},
		{"nor the hour's budget", func(p *Policy, s *Situation, _ *Decay) { p.StepsPerHour, s.StepTimes = 1, []time.Time{noon} }, ReasonDecay, true, 262144},

		{"not asked for", func(p *Policy, _ *Situation, _ *Decay) { p.Decay = 0 }, ReasonNoPressure, false, 0},
		{"too early", func(_ *Policy, _ *Situation, y *Decay) { y.Quiet-- }, ReasonNoPressure, false, 0},
		{"a quarter in use now", func(_ *Policy, _ *Situation, y *Decay) { y.Live = 131072 }, ReasonNoPressure, false, 0},
		{"not ctwarden's limit", func(_ *Policy, _ *Situation, y *Decay) { y.Base = 0 }, ReasonNoPressure, false, 0},
		{"the first limit is not known", func(_ *Policy, _ *Situation, y *Decay) { y.Found = 0 }, ReasonNoPressure, false, 0},
		{"as found at first", func(_ *Policy, s *Situation, _ *Decay) { s.Limits.Max = 65536 }, ReasonNoPressure, false, 0},
		{"found higher at first", func(_ *Policy, _ *Situation, y *Decay) { y.Found = 524289 }, ReasonNoPressure, false, 0},
		{"no limit at all", func(_ *Policy, s *Situation, _ *Decay) { s.Limits.Max = 0 }, ReasonNoPressure, false, 0},
		{"a limit beyond the kernel's", func(_ *Policy, s *Situation, _ *Decay) { s.Limits.Max = math.MaxUint64 }, ReasonNoPressure, false, 0},
		{"a factor of nothing", func(p *Policy, _ *Situation, _ *Decay) { p.Step = math.NaN() }, ReasonNoPressure, false, 0},

		{"observing", func(p *Policy, _ *Situation, _ *Decay) { p.Mode = ModeObserve }, ReasonObserveMode, false, 262144},
		{"held", func(_ *Policy, s *Situation, _ *Decay) { s.Held = &Hold{} }, ReasonHeld, false, 262144},
		{"read-only", func(_ *Policy, s *Situation, _ *Decay) { s.Limits.Writable = false }, ReasonReadOnly, false, 262144},
		{"somebody else's change", func(_ *Policy, s *Situation, _ *Decay) { s.ForeignAt = noon.Add(-time.Minute) }, ReasonForeignChange, false, 262144},
		{"somebody else's lowering", func(_ *Policy, s *Situation, _ *Decay) { s.Foreign.Lowered = 524288 }, ReasonForeignChange, false, 262144},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, s, y := emptied()
			c.edit(&p, &s, &y)
			d := DecideDecay(p, s, y)
			if d.Do != c.do || d.Reason != c.reason || d.To != c.to || d.From != s.Limits.Max || d.Trigger != ReasonDecay || d.Buckets != 0 {
				t.Errorf("got %+v; want do %v, %s, %d", d, c.do, c.reason, c.to)
			}
		})
	}
}

// TestDecideDecayKeepsItsPromises draws situations at random.
func TestDecideDecayKeepsItsPromises(t *testing.T) {
	rng := rand.New(rand.NewPCG(20761, 24))
	n := source(rng.Uint64)
	steps := 0
	for range 100_000 {
		p, s := n.policy(), n.situation()
		p.Decay = pick(n, 0, time.Minute, 24*time.Hour)
		s.Foreign = pick(n, Foreign{}, Foreign{}, Foreign{}, Foreign{Lowered: s.Limits.Max, Reraised: 2})
		y := Decay{
			Quiet: pick(n, 0, time.Minute, 24*time.Hour, 72*time.Hour), Live: n.amount(24),
			Found: pick(n, 0, 65536, n.amount(24)), Base: pick(n, 0, n.amount(24), n.amount(12)),
		}
		d := DecideDecay(p, s, y)
		if again := DecideDecay(p, s, y); again != d {
			t.Fatalf("decided %+v, then %+v", d, again)
		}
		if !d.Do {
			if d.Reason == ReasonDecay {
				t.Fatalf("refuses without a reason: %+v", d)
			}
			continue
		}
		steps++
		foreign := s.Now.Sub(s.ForeignAt)
		switch {
		case d.To >= d.From, d.To == 0, d.From != s.Limits.Max:
			t.Fatalf("does not lower: %+v", d)
		case d.To < 2*y.Live, d.To < y.Found, d.To < y.Base, y.Found == 0, y.Base == 0:
			t.Fatalf("goes below %+v: %+v", y, d)
		case float64(d.To) < float64(d.From)/p.Step:
			t.Fatalf("goes further than one step of %g: %+v", p.Step, d)
		case p.Decay == 0, y.Quiet < p.Decay, 4*y.Live >= d.From:
			t.Fatalf("too early: %+v of %+v", d, y)
		case p.Mode != ModeRemediate, s.Held.Active(s.Now), !s.Limits.Writable:
			t.Fatalf("not allowed: %+v", s)
		case s.Foreign.Lowered != 0, !s.ForeignAt.IsZero() && foreign >= 0 && foreign < p.ForeignPause:
			t.Fatalf("on somebody else's heels: %+v", s)
		}
	}
	if steps < 500 {
		t.Errorf("only %d steps of 100,000", steps)
	}
}

// fallow begins at noon with a limit of 1,000, in a boot that decays.
func fallow(t *testing.T) *script {
	s := play(t)
	s.cfg.Decay = time.Hour
	s.tr = NewTracker(s.cfg, TrackerState{})
	return s
}

// watch reads the first namespace, and another one, every second for so long.
func (s *script) watch(seconds int, count, others uint64) *script {
	s.t.Helper()
	for range seconds {
		s.at(s.now.Sub(noon) + time.Second)
		s.look(host, count).look(pod, others)
	}
	return s
}

func (s *script) quietFor(want time.Duration) *script {
	s.t.Helper()
	if got := s.tr.Quiet(); got != want {
		s.t.Errorf("at %s: quiet for %s, want %s", s.now.Sub(noon), got, want)
	}
	return s
}

func TestQuietIsWhatWasWatched(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*script)
		want time.Duration
	}{
		{"nothing happens", func(*script) {}, sec(119)},
		{"a quarter of the limit, once", func(s *script) { s.look(host, 250) }, sec(60)},
		{"just below", func(s *script) { s.look(host, 249) }, sec(119)},
		{"in another namespace", func(s *script) { s.look(pod, 250) }, sec(60)},
		{"somebody sets the limit", func(s *script) { s.limit = 1100 }, sec(60)},
		{"a step", func(s *script) { s.step(host, ReasonManual, 2000) }, sec(60)},
		{"a step back", func(s *script) {
			s.limit = 500
			s.take(s.tr.Reverted(s.now, Step{ID: "u", At: s.now, From: 1000, To: 500, Reason: ReasonDecay, NetNS: host}))
		}, sec(60)},
		{"nobody looks for an hour", func(s *script) { s.now = s.now.Add(time.Hour) }, sec(118)},
		{"only the other namespace is read", func(s *script) {
			for range 10 {
				s.now = s.now.Add(time.Second)
				s.look(pod, 5)
			}
		}, sec(118)},
		{"a restart of ten minutes", func(s *script) { s.now = s.now.Add(minutes(10)); s.restart("b1") }, sec(118)},
		{"a restart that finds another limit", func(s *script) { s.restart("b1").limit = 1100 }, sec(59)},
		{"a restart with the clock set back", func(s *script) { s.now = s.now.AddDate(0, 0, -1); s.restart("b1") }, sec(118)},
		{"a reboot", func(s *script) { s.restart("b2") }, sec(59)},
		{"decay turned off and on", func(s *script) {
			off := s.cfg
			off.Decay = 0
			s.tr.Configure(off)
			s.look(host, 5)
			s.tr.Configure(s.cfg)
		}, sec(60)},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := fallow(t)
			s.watch(60, 5, 5).quietFor(sec(59))
			c.do(s)
			s.watch(60, 5, 5).quietFor(c.want)
		})
	}
}

// TestQuietNeedsNoIncident: one that is open, though all is calm, is not quiet.
func TestQuietNeedsNoIncident(t *testing.T) {
	s := fallow(t)
	s.watch(60, 5, 5).look(pod, 950)
	s.watch(119, 5, 5).quietFor(0)
	s.watch(61, 5, 5).quiet().quietFor(sec(61))
	s.blind(router, 0).lines(in(router, kmsg)) // one that rests on a line alone
	s.watch(5, 5, 5).quietFor(0)
}

// TestFirstLimit is the one of the very first start, whatever comes after.
func TestFirstLimit(t *testing.T) {
	s := fallow(t)
	if s.tr.FirstLimit() != 0 {
		t.Errorf("first limit %d before any reading", s.tr.FirstLimit())
	}
	s.look(host, 5).step(host, ReasonManual, 2000)
	s.restart("b1").look(host, 5).restart("b2")
	s.limit = 700
	s.look(host, 5)
	if got := s.tr.FirstLimit(); got != 1000 {
		t.Errorf("first limit %d, want 1000", got)
	}
}
