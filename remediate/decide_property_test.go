package remediate

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// source hands out numbers to build a situation from: random ones in the property test, a fuzzer's in the fuzz test.
type source func() uint64

func (n source) below(limit uint64) uint64 { return n() % limit }
func (n source) chance(in uint64) bool     { return n.below(in) == 0 }

// around is a time from span before noon to span/4 after it.
func (n source) around(span time.Duration) time.Time {
	return noon.Add(time.Duration(n.below(uint64(span*5/4))) - span)
}

// amount is a number whose size is random too, up to 2^(bits).
func (n source) amount(bits uint64) uint64 {
	return n() >> (64 - bits + n.below(bits))
}

func pick[T any](n source, from ...T) T { return from[n.below(uint64(len(from)))] }

// policy is any policy that the configuration would take, and some that it would not.
func (n source) policy() Policy {
	p := Policy{
		Mode:     pick(n, ModeRemediate, ModeRemediate, ModeRemediate, ModeRemediate, ModeRemediate, ModeRemediate, ModeObserve, ""),
		Pressure: pick(n, 0.5, 0.9, 0.99), Horizon: pick(n, time.Minute, time.Second, 0),
		Ceiling: n.amount(34), Step: pick(n, 2, 1.5, 1.01, 3.7, 0.5), MaxStep: pick(n, 4, 2, 1.2, 8),
		MemoryShare: pick(n, 0.05, 0.001, 0.5, 1), Cooldown: pick(n, 0, 2*time.Minute),
		StepsPerHour: int(n.below(24)), Buckets: pick(n, BucketsPresize, BucketsKeep, ""),
		MaxStall: pick(n, 100*time.Millisecond, 0), RaiseOnFlood: n.chance(2), ForeignPause: 10 * time.Minute,
	}
	if n.chance(2) {
		p.Ceiling = pick[uint64](n, 524288, math.MaxInt32)
	}
	return p
}

// situation is any situation; most are near to one in which a step is taken, so that the guards are reached.
func (n source) situation() Situation {
	limit := 1 + n.amount(24)
	if n.chance(20) {
		limit = pick(n, 0, uint64(math.MaxInt32), math.MaxUint32)
	}
	count := limit - min(limit, limit*n.below(12)/100) + n.below(3)
	s := Situation{
		Now: noon,
		Ask: Ask{
			Reason:     pick(n, ReasonFull, ReasonFull, ReasonPressure, ReasonForecast, ReasonManual, ReasonBoot, ReasonDecay, ""),
			IncidentID: "inc", Refused: n.below(4), TimeToFull: time.Duration(n.below(uint64(3 * time.Minute))),
			Confidence: float64(n.below(11)) / 10, Risen: float64(n.below(11)) / 10, Surge: float64(n.amount(18)),
			To: n.amount(33), Demand: n.amount(33), LastStep: pick(n, time.Time{}, n.around(5*time.Minute)), Resized: n.chance(2),
			Reading: Reading{
				At: n.around(1100 * time.Millisecond), Count: count, Max: limit, CountersOK: !n.chance(8), Blind: n.chance(12),
			},
		},
		Limits: Limits{Max: limit, Buckets: limit/(1+n.below(16)) + n.below(2)*512, Writable: !n.chance(20), BucketsWritable: !n.chance(4)},
		Memory: Memory{Total: 1<<30 + n.amount(44), Available: 1<<28 + n.amount(43), EntryBytes: n.below(512)},
		Chains: pick(n, ChainsFree, ChainsShort, ChainsLong, ChainsLong), Entries: count + n.amount(20), Fullest: pick(n, 0, 0, count), Hidden: pick(n, 0, n.amount(20)),
		Flood: n.chance(10), ForeignAt: pick(n, time.Time{}, n.around(time.Hour)),
	}
	if n.chance(8) {
		s.Foreign = Foreign{Lowered: pick(n, limit, limit, 0), Reraised: int(n.below(4)), Against: int(n.below(6))}
	}
	if n.chance(8) {
		s.Ask.Reading.Max = n.amount(31)
	}
	if n.chance(8) {
		s.Held = &Hold{Until: pick(n, time.Time{}, n.around(time.Hour))}
	}
	for range n.below(6) {
		s.OtherPeaks = append(s.OtherPeaks, n.amount(24))
	}
	for range n.below(14) {
		s.StepTimes = append(s.StepTimes, n.around(2*time.Hour))
	}
	return s
}

// checkDecision tells what promise a decision breaks; "" if it keeps all.
func checkDecision(p Policy, s Situation, d Decision) string {
	if d.From != s.Limits.Max || d.Trigger != s.Ask.Reason || Reason.Text(d.Reason) == "" {
		return "does not say what it rests on"
	}
	if !d.Do {
		if d.Buckets != 0 {
			return "resizes without a step"
		}
		if d.Reason == s.Ask.Reason {
			return "refuses without a reason"
		}
		return ""
	}
	switch {
	case d.Reason != s.Ask.Reason:
		return "steps for another reason than asked"
	case d.From == 0 || d.To == 0:
		return "writes 0 or leaves 0"
	case d.To <= d.From:
		return "does not raise"
	case d.To > p.Ceiling || d.To > math.MaxInt32:
		return "is above the ceiling"
	case d.Buckets != 0 && d.Buckets <= s.Limits.Buckets:
		return "shrinks the hash"
	case d.Buckets != 0 && (p.Buckets != BucketsPresize || !s.Limits.BucketsWritable):
		return "resizes a hash that is not to be resized"
	case d.Buckets != 0 && PredictedStall(s.Entries+s.Hidden, s.StallPerEntry) > max(p.MaxStall, QuietStall):
		return "stalls for too long"
	case s.Chains.Limited() && d.To > s.Chains.Entries()*max(s.Limits.Buckets, d.Buckets):
		return "outgrows its hash"
	case !s.Limits.Writable:
		return "writes what cannot be written"
	}
	if broken := checkMemory(p, s, d); broken != "" {
		return broken
	}
	if s.Ask.Reason == ReasonManual {
		return ""
	}
	return checkAutomatic(p, s, d)
}

func checkMemory(p Policy, s Situation, d Decision) string {
	worst := float64(d.To)
	for _, peak := range s.OtherPeaks {
		worst += math.Min(float64(d.To), 2*float64(peak))
	}
	bytes := worst*float64(s.Memory.EntryBytes) + 8*float64(max(s.Limits.Buckets, d.Buckets))
	switch {
	case s.Memory.EntryBytes == 0:
		return "does not know its price"
	case bytes > p.MemoryShare*float64(s.Memory.Total)*(1+1e-9):
		return "outgrows its share of memory"
	case bytes > (float64(s.Memory.Available)+float64(s.Entries)*float64(s.Memory.EntryBytes))*(1+1e-9):
		return "outgrows the memory available"
	}
	return ""
}

func checkAutomatic(p Policy, s Situation, d Decision) string {
	switch {
	case p.Mode != ModeRemediate:
		return "steps while observing"
	case s.Held.Active(s.Now):
		return "steps while held"
	case s.Ask.Reason == ReasonBoot:
		return ""
	}
	r, age := s.Ask.Reading, s.Now.Sub(s.Ask.Reading.At)
	taken := 0
	for _, at := range s.StepTimes {
		if ago := s.Now.Sub(at); ago >= 0 && ago < time.Hour {
			taken++
		}
	}
	foreign := s.Now.Sub(s.ForeignAt)
	switch {
	case r.Blind || r.At.IsZero() || age < 0 || age >= time.Second:
		return "steps without a reading of the last second"
	case s.Ask.Reason == ReasonFull && (!r.CountersOK || s.Ask.Refused == 0 || float64(r.Count) < 0.97*float64(d.From)):
		return "steps for refusals that nothing shows"
	case s.Ask.Reason != ReasonFull && r.Max < d.From:
		return "steps on a reading from before the limit was raised"
	case float64(d.To) > math.Ceil(p.MaxStep*float64(d.From)):
		return "steps too far"
	case taken >= p.StepsPerHour:
		return "steps too often"
	case !s.ForeignAt.IsZero() && foreign >= 0 && foreign < p.ForeignPause:
		return "fights somebody else"
	case s.Foreign.Reraised >= 2:
		return "fights over a value that somebody else has set"
	case s.Foreign.Against >= 2:
		return "fights somebody else who lowers the limit"
	case s.Foreign.Lowered != 0 && s.Ask.Reason != ReasonFull:
		return "raises what somebody else has lowered on purpose"
	case s.Flood && !p.RaiseOnFlood:
		return "feeds a flood"
	}
	return ""
}

// checkDecide decides and checks the promises, those about two decisions too.
func checkDecide(t *testing.T, n source) Decision {
	t.Helper()
	p, s := n.policy(), n.situation()
	before := s
	before.OtherPeaks = append([]uint64(nil), s.OtherPeaks...)
	before.StepTimes = append([]time.Time(nil), s.StepTimes...)
	d := Decide(p, s)
	if broken := checkDecision(p, s, d); broken != "" {
		t.Fatalf("a decision that %s: %+v\nof %+v\nand %+v", broken, d, p, s)
	}
	if again := Decide(p, s); again != d {
		t.Fatalf("decided %+v, then %+v", d, again)
	}
	if !reflect.DeepEqual(before, s) {
		t.Fatalf("the situation was changed: %+v became %+v", before, s)
	}
	more := s
	more.Memory.Total += n.amount(43)
	more.Memory.Available += n.amount(43)
	if m := Decide(p, more); d.Do && (!m.Do || m.To < d.To) {
		t.Fatalf("%d with %+v, but %d (%s) with more memory %+v\nof %+v\nand %+v", d.To, s.Memory, m.To, m.Reason, more.Memory, p, s)
	}
	return d
}

func TestDecideKeepsItsPromises(t *testing.T) {
	rng := rand.New(rand.NewPCG(20761, 4))
	seen := map[Reason]int{}
	steps := 0
	for range 100_000 {
		d := checkDecide(t, rng.Uint64)
		seen[d.Reason]++
		if d.Do {
			steps++
		}
	}
	for _, reason := range []Reason{
		ReasonFull, ReasonPressure, ReasonForecast, ReasonManual, ReasonBoot, ReasonNoPressure, ReasonObserveMode,
		ReasonHeld, ReasonUnverified, ReasonAtCeiling, ReasonMemory, ReasonChainLimit, ReasonCooldown, ReasonBudget,
		ReasonReadOnly, ReasonForeignChange, ReasonFlood,
	} {
		if seen[reason] < 20 {
			t.Errorf("%s came up %d times only: the situations are too much alike", reason, seen[reason])
		}
	}
	if steps < 2000 {
		t.Errorf("only %d steps of 100,000", steps)
	}
}

func FuzzDecide(f *testing.F) {
	f.Add([]byte("a table full of connections"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, seed []byte) {
		rng := rand.New(rand.NewPCG(1, 2))
		checkDecide(t, func() uint64 {
			if len(seed) >= 8 {
				n := binary.LittleEndian.Uint64(seed)
				seed = seed[8:]
				return n
			}
			return rng.Uint64()
		})
	})
}
