package remediate

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// quiet is a host like refusing, with 1,000 entries, of which nothing is asked.
func quiet() Situation {
	s := refusing()
	s.Ask, s.Entries = Ask{}, 1000
	return s
}

func TestPresize(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*Policy, *Situation)
		reason  HashReason
		buckets uint64
		stall   time.Duration
	}{
		{"quiet", nil, "", 131072, 450 * time.Microsecond},
		{"on a kernel that refuses no long chain", func(_ *Policy, s *Situation) { s.Chains = ChainsFree }, "", 131072, 450 * time.Microsecond},
		{"large enough", func(_ *Policy, s *Situation) { s.Limits.Buckets = 131072 }, HashSized, 131072, 450 * time.Microsecond},
		{"larger than needed", func(_ *Policy, s *Situation) { s.Limits.Buckets = 262144 }, HashSized, 131072, 450 * time.Microsecond},
		{"one short", func(_ *Policy, s *Situation) { s.Limits.Buckets = 131071 }, "", 131072, 450 * time.Microsecond},
		{"a lower ceiling", func(p *Policy, _ *Situation) { p.Ceiling = 200000 }, "", 50176, 450 * time.Microsecond},
		{"keep", func(p *Policy, _ *Situation) { p.Buckets = BucketsKeep }, HashKeep, 131072, 450 * time.Microsecond},
		{"large enough matters before keep", func(p *Policy, s *Situation) { p.Buckets, s.Limits.Buckets = BucketsKeep, 131072 }, HashSized, 131072, 450 * time.Microsecond},
		{"neither keep nor presize", func(p *Policy, _ *Situation) { p.Buckets = "" }, HashKeep, 131072, 450 * time.Microsecond},
		{"observe", func(p *Policy, _ *Situation) { p.Mode = ModeObserve }, HashObserve, 131072, 450 * time.Microsecond},
		{"held", func(_ *Policy, s *Situation) { s.Held = &Hold{} }, HashHeld, 131072, 450 * time.Microsecond},
		{"no longer held", func(_ *Policy, s *Situation) { s.Held = &Hold{Until: noon} }, "", 131072, 450 * time.Microsecond},
		{"read-only", func(_ *Policy, s *Situation) { s.Limits.BucketsWritable = false }, HashReadOnly, 131072, 450 * time.Microsecond},
		{"the limit alone is read-only", func(_ *Policy, s *Situation) { s.Limits.Writable = false }, "", 131072, 450 * time.Microsecond},
		{"made smaller since", func(_ *Policy, s *Situation) { s.HashSet = 131072 }, HashSmaller, 131072, 450 * time.Microsecond},
		{"set for a lower ceiling", func(_ *Policy, s *Situation) { s.HashSet = 131071 }, "", 131072, 450 * time.Microsecond},
		{"somebody else is at it", func(_ *Policy, s *Situation) { s.ForeignAt = noon.Add(-10*time.Minute + 1) }, HashForeign, 131072, 450 * time.Microsecond},
		{"somebody else was at it", func(_ *Policy, s *Situation) { s.ForeignAt = noon.Add(-10 * time.Minute) }, "", 131072, 450 * time.Microsecond},
		{"refusing", func(_ *Policy, s *Situation) { s.Refusing = true }, HashRefusing, 131072, 450 * time.Microsecond},
		{"a table that stands high", func(_ *Policy, s *Situation) { s.Fullest = 58983 }, HashHigh, 131072, 450 * time.Microsecond},
		{"one short of it", func(_ *Policy, s *Situation) { s.Fullest = 58982 }, "", 131072, 450 * time.Microsecond},
		{"just failed", func(_ *Policy, s *Situation) { s.ResizeFailedAt = noon.Add(-10*time.Minute + 1) }, HashFailed, 131072, 450 * time.Microsecond},
		{"failed a while ago", func(_ *Policy, s *Situation) { s.ResizeFailedAt = noon.Add(-10 * time.Minute) }, "", 131072, 450 * time.Microsecond},
		{"as many entries as nobody notices", func(_ *Policy, s *Situation) { s.Entries = 44444 }, "", 131072, 19_999_800},
		{"one more", func(_ *Policy, s *Situation) { s.Entries = 44445 }, HashStall, 131072, 20_000_250},
		{"a slow machine", func(_ *Policy, s *Situation) { s.StallPerEntry, s.Entries = 2*time.Microsecond, 10001 }, HashStall, 131072, 20_002 * time.Microsecond},
		{"max_stall is for when packets are refused", func(p *Policy, s *Situation) { p.MaxStall, s.Entries = time.Hour, 44445 }, HashStall, 131072, 20_000_250},
		{"no memory", func(p *Policy, s *Situation) { p.MemoryShare = 1 / float64(s.Memory.Total) }, HashMemory, 131072, 450 * time.Microsecond},
		{"memory unknown", func(_ *Policy, s *Situation) { s.Memory = Memory{} }, HashMemory, 131072, 450 * time.Microsecond},
		{"no limit", func(_ *Policy, s *Situation) { s.Limits.Max = 0 }, HashNoLimit, 131072, 450 * time.Microsecond},
		{"a limit that the kernel no longer takes", func(_ *Policy, s *Situation) { s.Limits.Max = math.MaxInt32 + 1 }, HashNoLimit, 131072, 450 * time.Microsecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, s := allowed(), quiet()
			if c.change != nil {
				c.change(&p, &s)
			}
			want := Presizing{Do: c.reason == "", Reason: c.reason, Buckets: c.buckets, Stall: c.stall, Chains: s.Chains}
			if got := Presize(p, s); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
			if c.reason != "" && c.reason.Text() == "" {
				t.Errorf("%s has no text", c.reason)
			}
		})
	}
}

// Whatever the policy and the situation, a hash is only made larger, where that is allowed, and without a stall that
// anybody notices.
func TestPresizeKeepsItsPromises(t *testing.T) {
	sized := 0
	n := source(rand.New(rand.NewPCG(5, 6)).Uint64)
	for range 200_000 {
		p, s := n.policy(), n.situation()
		if n.chance(2) {
			s.StallPerEntry = time.Duration(n.amount(15))
		}
		d := Presize(p, s)
		if d.Do != (d.Reason == "") {
			t.Fatalf("%+v", d)
		}
		if !d.Do {
			continue
		}
		sized++
		if d.Buckets <= s.Limits.Buckets || d.Buckets%bucketMultiple != 0 || d.Buckets*s.Chains.Entries() < min(p.Ceiling, MaxLimit) ||
			PredictedStall(s.Entries, s.StallPerEntry) > 20*time.Millisecond || float64(s.Fullest) >= p.Pressure*float64(s.Limits.Max) || p.Mode != ModeRemediate ||
			p.Buckets != BucketsPresize || s.Held.Active(s.Now) || !s.Limits.BucketsWritable {
			t.Fatalf("%+v of %+v under %+v", d, s, p)
		}
	}
	if sized < 1000 {
		t.Errorf("only %d were sized", sized)
	}
}

func TestLearnedStall(t *testing.T) {
	// cost is a resize of 100,000 entries to 131,072 buckets at that much an entry.
	cost := func(ns int64) Resize { return Resize{To: 131072, Entries: 100_000, BusyUS: ns * 100} }
	few := Resize{To: 131072, Entries: 8191, BusyUS: 8191 * 5}
	for _, c := range []struct {
		name    string
		resizes []Resize
		want    time.Duration
	}{
		{"nothing known", nil, 450},
		{"one is not enough for less", []Resize{cost(200)}, 450},
		{"one counts upwards", []Resize{cost(600)}, 600},
		{"one alone, to half as much again", []Resize{cost(5000)}, 675},
		{"two that agree on less", []Resize{cost(200), cost(230)}, 230},
		{"two that agree on more", []Resize{cost(3000), cost(2000)}, 2000},
		{"one of them spoilt", []Resize{cost(200), cost(9000), cost(210)}, 675},
		{"too few entries tell nothing", []Resize{few, few}, 450},
		{"just as many as tell something", []Resize{{To: 131072, Entries: 8192, BusyUS: 8192}, {To: 131072, Entries: 8192, BusyUS: 8192}}, 1000},
		{"too few for so large a hash", []Resize{{To: 1 << 20, Entries: 65535, BusyUS: 65535}, {To: 1 << 20, Entries: 65535, BusyUS: 65535}}, 450},
		{"a small hash", []Resize{{To: 512, Entries: 4999, BusyUS: 4999}, {To: 512, Entries: 5000, BusyUS: 3000}}, 600},
		{"no clock", []Resize{cost(0), cost(0)}, 450},
		{"faster than is believed", []Resize{cost(10), cost(10)}, 50},
		{"slower than is believed", []Resize{cost(1 << 40), cost(1 << 40)}, 20_000},
		{"what is long past", append([]Resize{cost(5000), cost(5000)}, cost(300), cost(310), cost(320), cost(330), cost(340),
			cost(350), cost(360), cost(370)), 370},
	} {
		if got := LearnedStall(c.resizes); got != c.want {
			t.Errorf("%s: %d ns, want %d", c.name, got, c.want)
		}
	}
}
