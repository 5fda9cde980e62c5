package remediate

import (
	"math"
	"testing"
	"time"
)

func TestDecideMemory(t *testing.T) {
	// 131,072 entries of 512 bytes and 131,072 buckets of 8: 68,157,440 bytes.
	const twice = 131072*512 + 131072*8
	share := func(bytes float64) func(*Policy, *Situation) {
		return func(p *Policy, s *Situation) { p.MemoryShare = bytes / float64(s.Memory.Total) }
	}
	for _, c := range []decideCase{
		{"just enough", refusing(), share(twice), ReasonFull, true, 131072, 0},
		{"a smaller step, to a clean figure", refusing(), share(twice - 512), ReasonFull, true, 130000, 0},
		{"a smaller step, and a figure less clean to serve the demand", refusing(), func(p *Policy, s *Situation) {
			s.Ask.Demand = 130100
			share(twice-512)(p, s)
		}, ReasonFull, true, 131000, 0},
		{"a smaller step that just serves the demand", refusing(), func(p *Policy, s *Situation) {
			s.Ask.Demand = 131071
			share(twice-512)(p, s)
		}, ReasonFull, true, 131071, 0},
		{"a smaller step than the demand", refusing(), func(p *Policy, s *Situation) {
			s.Ask.Demand = 200000
			share(twice-512)(p, s)
		}, ReasonFull, true, 130000, 0},
		{"the smallest step worth it", refusing(), share(69632*512 + 131072*8), ReasonFull, true, 69632, 0},
		{"less than a sixteenth", refusing(), share(69631*512 + 131072*8), ReasonMemory, false, 131072, 0},
		{"already too large", refusing(), share(1), ReasonMemory, false, 131072, 0},
		{"by hand, just enough", asked(ReasonManual, 131072), share(twice), ReasonManual, true, 131072, 0},
		{"by hand, met or refused", asked(ReasonManual, 131072), share(twice - 512), ReasonMemory, false, 131072, 0},
		{"at boot, met or refused", asked(ReasonBoot, 131072), share(twice - 512), ReasonMemory, false, 131072, 0},
		{"what the table has counts as available", refusing(), func(_ *Policy, s *Situation) {
			s.Memory.Available = twice - 65535*512
		}, ReasonFull, true, 131072, 0},
		{"available short of it", refusing(), func(_ *Policy, s *Situation) {
			s.Memory.Available = twice - 65535*512 - 512
		}, ReasonFull, true, 130000, 0},
		{"entry size unknown", refusing(), func(_ *Policy, s *Situation) { s.Memory.EntryBytes = 0 }, ReasonMemory, false, 131072, 0},
		{"memory unknown", refusing(), func(_ *Policy, s *Situation) { s.Memory = Memory{EntryBytes: 512} }, ReasonMemory, false, 131072, 0},
		{"other namespaces take their part", refusing(), func(p *Policy, s *Situation) {
			s.OtherPeaks = []uint64{1000, 40000} // 2,000 and 80,000 entries more
			share(twice+82000*512)(p, s)
		}, ReasonFull, true, 131072, 0},
		{"other namespaces take too much", refusing(), func(p *Policy, s *Situation) {
			s.OtherPeaks = []uint64{1000, 40000}
			share(twice)(p, s)
		}, ReasonMemory, false, 131072, 0},
		{"an entry of any size", refusing(), func(_ *Policy, s *Situation) { s.Memory.EntryBytes = math.MaxUint64 }, ReasonMemory, false, 131072, 0},
		{"a large hash is paid for", refusing(), func(p *Policy, s *Situation) {
			s.Limits.Buckets = 1 << 20
			share(twice)(p, s)
		}, ReasonFull, true, 110000, 0}, // of 131072 - 7*131072*8/512
	} {
		t.Run(c.name, c.run)
	}
}

func TestDecideChain(t *testing.T) {
	// at is the refusing namespace at 131,072 of 16,384 buckets, where 8 a bucket hold back every step.
	at := func() Situation {
		s := refusing()
		s.Limits.Max, s.Ask.Reading.Max, s.Ask.Reading.Count, s.Entries = 131072, 131072, 131072, 131072
		return s
	}
	quiet := func() Situation {
		s := at()
		s.Ask.Reason, s.Ask.Refused, s.Ask.TimeToFull, s.Ask.Confidence, s.Ask.Reading.Count = ReasonPressure, 0, time.Second, 0.9, 125000
		return s
	}
	for _, c := range []decideCase{
		{"one resize while refusing", at(), nil, ReasonFull, true, 262144, 131072},
		{"no second one", at(), func(_ *Policy, s *Situation) { s.Ask.Resized = true }, ReasonChainLimit, false, 262144, 0},
		{"none beyond max_stall", at(), func(_ *Policy, s *Situation) { s.Entries = 222223 }, ReasonChainLimit, false, 262144, 0},
		{"up to max_stall", at(), func(_ *Policy, s *Situation) { s.Entries = 222222 }, ReasonFull, true, 262144, 131072},
		{"none beyond max_stall with what is hidden", at(), func(_ *Policy, s *Situation) { s.Hidden = 222223 - s.Entries }, ReasonChainLimit, false, 262144, 0},
		{"up to max_stall with what is hidden", at(), func(_ *Policy, s *Situation) { s.Hidden = 222222 - s.Entries }, ReasonFull, true, 262144, 131072},
		{"none where the hash cannot be written", at(), func(_ *Policy, s *Situation) { s.Limits.BucketsWritable = false }, ReasonChainLimit, false, 262144, 0},
		{"none where it is to be kept", at(), func(p *Policy, _ *Situation) { p.Buckets = BucketsKeep }, ReasonChainLimit, false, 262144, 0},
		{"no chain limit on an old kernel", at(), func(_ *Policy, s *Situation) { s.Chains = ChainsFree }, ReasonFull, true, 262144, 0},
		{"pressure alone is no reason to stall", quiet(), nil, ReasonChainLimit, false, 262144, 0},
		{"a stall that nobody notices", quiet(), func(_ *Policy, s *Situation) { s.Entries = 44444 }, ReasonPressure, true, 262144, 131072},
		{"a stall just beyond it", quiet(), func(_ *Policy, s *Situation) { s.Entries = 44445 }, ReasonChainLimit, false, 262144, 0},
		{"again and again while nobody notices", quiet(), func(_ *Policy, s *Situation) { s.Entries, s.Ask.Resized = 44444, true }, ReasonPressure, true, 262144, 131072},
		{"as far as the hash carries", at(), func(_ *Policy, s *Situation) { s.Ask.Resized, s.Limits.Buckets = true, 20480 }, ReasonFull, true, 160000, 0},
		{"less than a sixteenth further", at(), func(_ *Policy, s *Situation) { s.Ask.Resized, s.Limits.Buckets = true, 17407 }, ReasonChainLimit, false, 262144, 0},
		{"a sixteenth further", at(), func(_ *Policy, s *Situation) { s.Ask.Resized, s.Limits.Buckets = true, 17408 }, ReasonFull, true, 139264, 0},
		{"by hand, resized", asked(ReasonManual, 200000), func(_ *Policy, s *Situation) { s.Entries = 40000 }, ReasonManual, true, 200000, 131072},
		{"by hand, met or refused", asked(ReasonManual, 200000), nil, ReasonChainLimit, false, 200000, 0},
		{"at boot, met or refused", asked(ReasonBoot, 200000), nil, ReasonChainLimit, false, 200000, 0},
		{"the hash of the ceiling at least serves the step", at(), func(p *Policy, _ *Situation) { p.Ceiling = 200000 }, ReasonFull, true, 200000, 50176},
	} {
		t.Run(c.name, c.run)
	}
}

func TestCleanBelow(t *testing.T) {
	for _, c := range []struct{ n, least, want uint64 }{
		{1, 1, 1}, {9, 5, 9}, {99, 1, 99}, {123, 1, 120}, {123, 121, 123}, {123, 120, 120}, {99_999, 90_000, 99_000},
		{163_840, 139_264, 160_000}, {139_264, 139_264, 139_264}, {139_264, 139_200, 139_200}, {100_000, 100_000, 100_000},
		{math.MaxInt32, 1 << 30, 2_100_000_000},
	} {
		if got := cleanBelow(c.n, c.least); got != c.want {
			t.Errorf("cleanBelow(%d, %d) = %d, want %d", c.n, c.least, got, c.want)
		}
	}
}

func TestWorstEntries(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit uint64
		peaks []uint64
		want  uint64
	}{
		{"alone", 1000, nil, 1000},
		{"twice each peak", 1000, []uint64{10, 300}, 1620},
		{"no more than the limit each", 1000, []uint64{501, 1000, 9000}, 4000},
		{"a peak beyond all bounds", 1000, []uint64{math.MaxUint64, 1 << 63}, 3000},
	} {
		if got := WorstEntries(c.limit, c.peaks); got != c.want {
			t.Errorf("%s: WorstEntries = %d, want %d", c.name, got, c.want)
		}
	}
}

func TestPredictedStall(t *testing.T) {
	for _, c := range []struct {
		entries  uint64
		perEntry time.Duration
		want     time.Duration
	}{
		{0, 0, 0},
		{1000, 0, 450 * time.Microsecond},
		{1_000_000, 0, 450 * time.Millisecond},
		{math.MaxUint64, 0, time.Hour},
		{1000, 70 * time.Nanosecond, 70 * time.Microsecond},
		{1_000_000, 20 * time.Microsecond, 20 * time.Second},
		{math.MaxUint64, 1, time.Hour},
	} {
		if got := PredictedStall(c.entries, c.perEntry); got != c.want {
			t.Errorf("PredictedStall(%d, %s) = %s, want %s", c.entries, c.perEntry, got, c.want)
		}
	}
}

func TestSamplePeriod(t *testing.T) {
	p := allowed() // 200,000 new connections a second at most
	p.Ceiling = MaxLimit
	const ms = time.Millisecond
	for _, c := range []struct {
		name       string
		rate       float64
		growth     float64
		count, max uint64
		urgent     bool
		want       time.Duration // where a step may follow
		barred     time.Duration // where none does for a while
		never      time.Duration // in observe mode and at the ceiling
	}{
		{"empty and large", 200000, 0, 0, 1 << 20, false, time.Second, time.Second, time.Second},
		{"a quarter of the time it could fill in, less what a step takes", 200000, 0, 45536, 65536, false, 17 * ms, 50 * ms, 100 * ms},
		{"half of the time, where that is no rare reading", 200000, 0, 61536, 65536, false, 10 * ms, 20 * ms, 20 * ms},
		{"between the two", 200000, 0, 57536, 65536, false, 12 * ms, 20 * ms, 40 * ms},
		{"where the two meet", 200000, 0, 49536, 65536, false, 12 * ms, 40 * ms, 80 * ms},
		{"a little more", 200000, 0, 47136, 65536, false, 15 * ms, 46 * ms, 92 * ms},
		{"nearly full", 200000, 0, 65000, 65536, false, 5 * ms, 100 * ms, 100 * ms},
		{"over its limit", 200000, 0, 70000, 65536, false, 5 * ms, 100 * ms, 100 * ms},
		{"urgent", 200000, 0, 0, 1 << 20, true, 10 * ms, 20 * ms, 20 * ms},
		{"urgent and nearly full", 200000, 0, 65000, 65536, true, 5 * ms, 100 * ms, 100 * ms},
		{"no limit", 200000, 0, 0, 0, false, time.Second, time.Second, time.Second},
		{"faster than the fastest", 100000, 400000, 25536, 65536, false, 12500 * time.Microsecond, 50 * ms, 50 * ms},
		{"faster than the fastest, and minutes of room", 100000, 200000, 0, 1 << 30, false, time.Second, time.Second, time.Second},
		{"faster than the fastest, little room", 100000, 400000, 41536, 65536, false, 7500 * time.Microsecond, 30 * ms, 30 * ms},
		{"slower than the fastest", 200000, 4000, 45536, 65536, false, 17 * ms, 50 * ms, 100 * ms},
		{"no rate", 0, 0, 65535, 65536, false, time.Second, time.Second, time.Second},
	} {
		p.MaxInsertRate = c.rate
		r := Reading{Count: c.count, Max: c.max}
		with := Sampling{Growth: c.growth, Urgent: c.urgent}
		barred := with
		barred.Barred = true
		if got := SamplePeriod(p, r, with); got != c.want {
			t.Errorf("%s: SamplePeriod = %s, want %s", c.name, got, c.want)
		}
		if got := SamplePeriod(p, r, barred); got != c.barred {
			t.Errorf("%s, barred: SamplePeriod = %s, want %s", c.name, got, c.barred)
		}
		observe, atCeiling := p, p
		observe.Mode, atCeiling.Ceiling = ModeObserve, c.max
		for why, got := range map[string]time.Duration{
			"observe":         SamplePeriod(observe, r, with),
			"observe, barred": SamplePeriod(observe, r, barred),
			"the ceiling":     SamplePeriod(atCeiling, r, with),
		} {
			if got != c.never {
				t.Errorf("%s, %s: SamplePeriod = %s, want %s", c.name, why, got, c.never)
			}
		}
	}
}

func TestFullWithin(t *testing.T) {
	remedy := allowed()
	remedy.Ceiling = MaxLimit
	observe, atCeiling, slow := remedy, remedy, remedy
	observe.Mode, atCeiling.Ceiling, slow.MaxInsertRate = ModeObserve, 65536, 0
	for _, c := range []struct {
		name string
		p    Policy
		r    Reading
		with Sampling
		want bool
	}{
		{"in 10 ms", remedy, Reading{Count: 63_536, Max: 65536}, Sampling{}, false},
		{"sooner", remedy, Reading{Count: 63_537, Max: 65536}, Sampling{}, true},
		{"at its own growth", remedy, Reading{Count: 60_000, Max: 65536}, Sampling{Growth: 600_000}, true},
		{"full", remedy, Reading{Count: 65536, Max: 65536}, Sampling{}, true},
		{"full, and refused a step", remedy, Reading{Count: 65536, Max: 65536}, Sampling{Barred: true}, false},
		{"full in observe mode", observe, Reading{Count: 65536, Max: 65536}, Sampling{}, false},
		{"full at the ceiling", atCeiling, Reading{Count: 65536, Max: 65536}, Sampling{}, false},
		{"not read yet", remedy, Reading{}, Sampling{}, false},
		{"no rate", slow, Reading{Count: 65536, Max: 65536}, Sampling{}, false},
	} {
		if got := FullWithin(c.p, c.r, c.with, 10*time.Millisecond); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestSparedAreReadLess: those of many that hold little are read half as often, but not where they grow fast or refuse.
func TestSparedAreReadLess(t *testing.T) {
	p := allowed()
	p.Ceiling = MaxLimit
	r := Reading{Count: 1000, Max: 41_000}
	for _, c := range []struct {
		name string
		with Sampling
		want time.Duration
	}{
		{"spared", Sampling{Spared: true}, 100 * time.Millisecond},
		{"not spared", Sampling{}, 42 * time.Millisecond},
		{"growing", Sampling{Spared: true, Growth: 500_000}, 10 * time.Millisecond},
		{"refusing", Sampling{Spared: true, Urgent: true}, 10 * time.Millisecond},
	} {
		if got := SamplePeriod(p, r, c.with); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
