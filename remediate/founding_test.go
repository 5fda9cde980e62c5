package remediate

import (
	"slices"
	"testing"
	"time"
)

// A climb is a table that is filled up to its limit again and again while one incident lasts.
type climb struct {
	limits  []uint64        // after each step
	resizes []time.Duration // predicted, of each resize
	buckets uint64          // at the end
	why     Reason          // why it ended
}

// climbFrom takes step after step, with so many entries in other namespaces besides, and more with each step. Where foreseen is true, each is asked
// for before anything is refused, and by the refusals only where it was not taken then.
func climbFrom(p Policy, s Situation, others, more uint64, foreseen bool) climb {
	var c climb
	for ; len(c.limits) < 20; others += more {
		s.Ask.Reading.Max, s.Ask.Reading.At = s.Limits.Max, s.Now
		d := Decision{}
		if foreseen {
			s.Ask.Reading.Count, s.Ask.Reason = s.Limits.Max-1000, ReasonPressure
			s.Ask.TimeToFull, s.Ask.Confidence, s.Ask.Surge = time.Second, 1, 2000
			s.Entries = s.Ask.Reading.Count + others
			d = Decide(p, s)
		}
		if !d.Do {
			s.Ask.Reading.Count, s.Ask.Reason = s.Limits.Max, ReasonFull
			s.Entries = s.Limits.Max + others
			d = Decide(p, s)
		}
		if !d.Do {
			c.why, c.buckets = d.Reason, s.Limits.Buckets
			return c
		}
		if d.Buckets > 0 {
			c.resizes = append(c.resizes, PredictedStall(s.Entries, s.StallPerEntry))
			s.Limits.Buckets, s.Ask.Resized = d.Buckets, true
		}
		s.Limits.Max, s.Limits.OldMax = d.To, d.To
		s.StepTimes = append(s.StepTimes, s.Now)
		c.limits = append(c.limits, d.To)
		s.Now = s.Now.Add(time.Second)
	}
	return c
}

// The guards must not lock each other: a hypervisor with the default limit that is busy all day, so that its hash is
// never sized in quiet, reaches the ceiling with one bearable stall.
func TestFoundingCase(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*Policy, *Situation)
		others  uint64
		limits  []uint64
		resizes []time.Duration
		why     Reason
	}{
		{
			"the default of old kernels", nil, 0,
			[]uint64{131072, 262144, 524288}, []time.Duration{131072 * 450}, ReasonAtCeiling,
		},
		{
			"with the price of a busy hypervisor, at once", func(_ *Policy, s *Situation) { s.StallPerEntry = aloneAtMost }, 0,
			[]uint64{131072, 262144, 524288}, []time.Duration{65536 * 675}, ReasonAtCeiling,
		},
		{
			"with the price of a slow one, at once: later it would cost too much",
			func(_ *Policy, s *Situation) { s.StallPerEntry = 1500 }, 0,
			[]uint64{131072, 262144, 524288}, []time.Duration{65536 * 1500}, ReasonAtCeiling,
		},
		{
			"twice as large, at once", func(_ *Policy, s *Situation) { s.Limits.Max, s.Limits.Buckets = 131072, 32768 }, 0,
			[]uint64{262144, 524288}, []time.Duration{131072 * 450}, ReasonAtCeiling,
		},
		{
			"sized in quiet", func(_ *Policy, s *Situation) { s.Limits.Buckets = 131072 }, 0,
			[]uint64{131072, 262144, 524288}, nil, ReasonAtCeiling,
		},
		{
			"the default of new kernels", func(_ *Policy, s *Situation) { s.Limits.Max, s.Limits.Buckets = 262144, 262144 }, 0,
			[]uint64{524288}, nil, ReasonAtCeiling,
		},
		{
			"many entries elsewhere, at once", nil, 100_000,
			[]uint64{131072, 262144, 524288}, []time.Duration{165536 * 450}, ReasonAtCeiling,
		},
		{"more than max_stall allows", nil, 200_000, []uint64{131072}, nil, ReasonChainLimit},
		{"keep", func(p *Policy, _ *Situation) { p.Buckets = BucketsKeep }, 0, []uint64{131072}, nil, ReasonChainLimit},
		{
			"keep, where 8 a bucket are no power of two",
			func(p *Policy, s *Situation) { p.Buckets, s.Limits.Buckets = BucketsKeep, 20480 }, 0,
			[]uint64{131072, 160000}, nil, ReasonChainLimit,
		},
		{
			"a kernel that gives no larger hash", func(_ *Policy, s *Situation) { s.ResizeFailedAt = noon }, 0,
			[]uint64{131072}, nil, ReasonChainLimit,
		},
		{
			"a kernel that refuses no long chain", func(_ *Policy, s *Situation) { s.Chains = ChainsFree }, 200_000,
			[]uint64{131072, 262144, 524288}, nil, ReasonAtCeiling,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, s := allowed(), refusing()
			if c.change != nil {
				c.change(&p, &s)
			}
			got := climbFrom(p, s, c.others, 0, false)
			if !slices.Equal(got.limits, c.limits) || !slices.Equal(got.resizes, c.resizes) || got.why != c.why {
				t.Errorf("limits %d, stalls %v, then %s\nwant   %d, stalls %v, then %s", got.limits, got.resizes, got.why,
					c.limits, c.resizes, c.why)
			}
			// Foreseen or not, it ends where it has to, and no resize takes too long.
			early := climbFrom(p, s, c.others, 0, true)
			if n := len(early.limits); n == 0 || early.limits[n-1] != c.limits[len(c.limits)-1] || early.why != c.why ||
				len(early.resizes) > 1 {
				t.Errorf("foreseen: limits %d, stalls %v, then %s", early.limits, early.resizes, early.why)
			}
			for _, stall := range append(got.resizes, early.resizes...) {
				if stall > p.MaxStall {
					t.Errorf("a stall of %v", stall)
				}
			}
		})
	}
}

// TestFoundingCaseWhileOthersGrow: what other namespaces come to hold between two steps must not make the one resize too
// expensive that the climb needs.
func TestFoundingCaseWhileOthersGrow(t *testing.T) {
	for _, buckets := range []uint64{16384, 32768, 65536} {
		for _, more := range []uint64{0, 1, 1000, 10_000} {
			for _, foreseen := range []bool{false, true} {
				p, s := allowed(), refusing()
				s.Limits.Buckets = buckets
				if got := climbFrom(p, s, 0, more, foreseen); got.why != ReasonAtCeiling || len(got.resizes) > 1 {
					t.Errorf("%d buckets, %d more elsewhere with each step, foreseen %v: %+v", buckets, more, foreseen, got)
				}
			}
		}
	}
}
