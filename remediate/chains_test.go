package remediate

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestKernelChains(t *testing.T) {
	for _, c := range []struct {
		release string
		counts  bool
		want    Chains
	}{
		{"3.10.0-1160.el7.x86_64", false, ChainsFree},
		{"5.10.0-32-amd64", false, ChainsFree},
		{"5.14.21-150500-default", false, ChainsFree},
		{"5.14.0-503.el9.x86_64", true, ChainsShort}, // RHEL 9 has it from later versions
		{"5.15.0-130-generic", false, ChainsShort},   // the counters are not read yet
		{"5.15.0-130-generic", true, ChainsShort},
		{"5.20.1", true, ChainsShort},
		{"6.1.0-31-amd64", true, ChainsShort},
		{"6.2.16", true, ChainsShort},
		{"6.3.0", true, ChainsLong},
		{"6.12.0-1-amd64", true, ChainsLong},
		{"7.2.1", false, ChainsLong},
		{"unknown", false, ChainsShort},
		{"", true, ChainsShort},
	} {
		if got := KernelChains(c.release).Counted(c.counts); got != c.want {
			t.Errorf("%q, counted %v: %d, want %d", c.release, c.counts, got, c.want)
		}
	}
}

func TestPresizedBuckets(t *testing.T) {
	for _, c := range []struct {
		chains Chains
		want   map[uint64]uint64
	}{
		{ChainsFree, map[uint64]uint64{0: 0, 1: 512, 2048: 512, 2049: 1024, 524288: 131072, math.MaxUint64: 1 << 29}},
		{ChainsLong, map[uint64]uint64{0: 0, 1: 512, 2048: 512, 2049: 1024, 524288: 131072, math.MaxUint64: 1 << 29}},
		{ChainsShort, map[uint64]uint64{0: 0, 1: 512, 512: 512, 513: 1024, 524288: 524288, math.MaxUint64: 1 << 31}},
	} {
		for limit, want := range c.want {
			if got := c.chains.PresizedBuckets(limit); got != want {
				t.Errorf("%d: %d buckets for %d, want %d", c.chains, got, limit, want)
			}
		}
	}
}

// refusedShare is which part of random inserts a kernel refuses that draws the longest chain from 8 to 31 and gives up
// at the second link beyond, in either of the two chains that a connection goes to (Linux 6.1, __nf_conntrack_confirm),
// with so many entries to a bucket: the length of a chain is Poisson-distributed about twice that.
func refusedShare(entries float64) float64 {
	const least, drawn = 8, 24
	mean, share := 2*entries, 0.0
	chance, upTo := math.Exp(-mean), 0.0 // that a chain has n links, and that it has n at most
	for n := range least + drawn + 1 {
		upTo += chance
		if chance *= mean / float64(n+1); n > least {
			share += (1 - upTo*upTo) / drawn
		}
	}
	return share
}

// TestChainsShortSuffices: what is presized, and where the limit is held, is refused next to nothing where chains must
// be short; what serves longer chains would be refused much.
func TestChainsShortSuffices(t *testing.T) {
	const ceiling = 524288
	presized := float64(ceiling) / float64(ChainsShort.PresizedBuckets(ceiling))
	for _, c := range []struct {
		entries, least, most float64
	}{
		{presized, 4e-6, 6e-6},
		{float64(ChainsShort.Entries()), 5e-4, 2e-3},
		{float64(ChainsLong.Entries()), 0.3, 0.6},
	} {
		if got := refusedShare(c.entries); got < c.least || got > c.most {
			t.Errorf("at %.0f entries a bucket %.2g is refused, want %.2g to %.2g", c.entries, got, c.least, c.most)
		}
	}
}

// TestFoundingCaseShortChains is the founding case where chains must be short.
func TestFoundingCaseShortChains(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*Policy, *Situation)
		others  uint64
		limits  []uint64
		resizes []time.Duration
		buckets uint64
		why     Reason
	}{
		{"the default of old kernels, at once", nil, 0,
			[]uint64{131072, 262144, 524288}, []time.Duration{65536 * 450}, 524288, ReasonAtCeiling},
		{"sized in quiet", func(_ *Policy, s *Situation) { s.Limits.Buckets = 524288 }, 0,
			[]uint64{131072, 262144, 524288}, nil, 524288, ReasonAtCeiling},
		{"the default of these kernels", func(_ *Policy, s *Situation) { s.Limits.Max, s.Limits.Buckets = 262144, 262144 }, 0,
			[]uint64{524288}, nil, 262144, ReasonAtCeiling},
		{"many entries elsewhere", nil, 100_000,
			[]uint64{131072, 262144, 524288}, []time.Duration{165536 * 450}, 524288, ReasonAtCeiling},
		{"keep", func(p *Policy, s *Situation) { p.Buckets, s.Limits.Buckets = BucketsKeep, 65536 }, 0,
			[]uint64{131072}, nil, 65536, ReasonChainLimit},
		{"keep, with four entries a bucket already", func(p *Policy, _ *Situation) { p.Buckets = BucketsKeep }, 0,
			nil, nil, 16384, ReasonChainLimit},
		{"more than max_stall allows", nil, 200_000, nil, nil, 16384, ReasonChainLimit},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, s := allowed(), refusing()
			s.Chains = ChainsShort
			if c.change != nil {
				c.change(&p, &s)
			}
			got := climbFrom(p, s, c.others, 0, false)
			if !slices.Equal(got.limits, c.limits) || !slices.Equal(got.resizes, c.resizes) || got.why != c.why ||
				got.buckets != c.buckets {
				t.Errorf("%+v\nwant limits %d, stalls %v, %d buckets, then %s", got, c.limits, c.resizes, c.buckets, c.why)
			}
		})
	}
}

// TestPresizeShortChains: the larger hash is asked for, paid for and kept small where the memory does not suffice.
func TestPresizeShortChains(t *testing.T) {
	p, s := allowed(), quiet()
	s.Chains = ChainsShort
	if d := Presize(p, s); !d.Do || d.Buckets != 524288 || d.Stall != 450*time.Microsecond {
		t.Errorf("%+v", d)
	}
	p.MemoryShare = (65536*512 + 524288*8 - 1) / float64(s.Memory.Total)
	if d := Presize(p, s); d.Reason != HashMemory {
		t.Errorf("a byte short: %+v", d)
	}
	s.Chains = ChainsLong
	if d := Presize(p, s); !d.Do || d.Buckets != 131072 {
		t.Errorf("where chains may be long: %+v", d)
	}
}

// TestKeepTextIsTrue: what is said of a hash that is kept is what the guard does on that kernel.
func TestKeepTextIsTrue(t *testing.T) {
	for chains, want := range map[Chains]string{
		ChainsFree: "does not depend on it", ChainsShort: "to 2 entries a bucket", ChainsLong: "to 8 entries a bucket",
	} {
		p, s := allowed(), refusing()
		p.Buckets, s.Chains = BucketsKeep, chains
		d := Presize(p, s)
		if text := d.Text(); d.Reason != HashKeep || !strings.Contains(text, want) {
			t.Errorf("%d: %s, %q", chains, d.Reason, text)
		}
		at := s.Limits.Buckets * chains.Entries()
		s.Ask = Ask{Reason: ReasonManual, To: at + 1}
		s.Limits.Max = at
		if d := Decide(p, s); d.Do == chains.Limited() {
			t.Errorf("%d: from %d to %d: %+v", chains, at, at+1, d)
		}
	}
}
