package remediate

import "time"

const (
	// MinPeriod and MaxPeriod bound the time between two readings of a table.
	MinPeriod = 5 * time.Millisecond
	MaxPeriod = time.Second
	// urgentPeriod is the longest time between two readings while connections are being refused.
	urgentPeriod = 10 * time.Millisecond
	// barredPeriod is the shortest time between two readings where no step can follow from them, fullPeriod the same of a
	// table that is full then. One that fills up and empties again between two readings must not go unseen.
	barredPeriod = 20 * time.Millisecond
	fullPeriod   = 100 * time.Millisecond
	// haste is how many periods fall into the time in which a table could fill up at max_insert_rate: one that fills up
	// three and a half times as fast is read in time all the same. stepTime is taken off a period: what waking up, reading
	// and the step may take where all CPUs are busy. hasteLess is the same as haste of a table that is spared, or barred for
	// a while, and as far as haste would have it read oftener than every hastePeriod: a table may stand high for days.
	// hasteNone is the same in observe mode and at the ceiling, hasteMost that of the time in which a table will be full at
	// a growth beyond that rate.
	haste       = 4
	stepTime    = 8 * time.Millisecond
	hasteLess   = 2
	hasteNone   = 1
	hasteMost   = 8
	hastePeriod = 12 * time.Millisecond
)

// Sampling is what bears on the time until a table is read again, beside its last reading.
type Sampling struct {
	// Growth is the table's own, in entries per second.
	Growth float64
	// Urgent: connections are being refused. Reading stays fast then, since the kernel goes silent after ten lines.
	Urgent bool
	// Barred: no step can follow for a while ([Tracker.Barred]), so that nothing is saved by haste.
	Barred bool
	// Spared: it is one of many that hold little, to read all of which in haste would cost too much.
	Spared bool
}

// SamplePeriod is how long a table may go unread after a reading: a quarter of the time in which it could fill up at
// max_insert_rate, less 8 ms (where that leaves less than 12 ms: 12, or half of the time if that is less), and an eighth of
// that in which it will be at its own growth where that is faster. For a table that is spared it is half of the former time,
// for one that is barred half of either. In observe mode and at the ceiling it is the whole of the former, and half of the
// latter.
func SamplePeriod(p Policy, r Reading, s Sampling) time.Duration {
	longest, least := MaxPeriod, MinPeriod
	if s.Urgent {
		longest = urgentPeriod
	}
	never := noStep(p, r)
	barred := s.Barred || never
	if barred {
		least = barredPeriod
		if r.Fill() >= FullShare {
			least = fullPeriod
		}
	}
	if p.MaxInsertRate <= 0 || r.Max == 0 {
		return max(longest, least)
	}
	fills := fillsIn(r, p.MaxInsertRate)
	period := fills / hasteLess
	switch {
	case never:
		period = fills / hasteNone
	case !barred && !s.Spared:
		period = max(fills/haste-stepTime, min(period, hastePeriod))
	}
	if s.Growth > p.MaxInsertRate {
		parts := time.Duration(hasteMost)
		if barred {
			parts = hasteLess
		}
		period = min(period, fillsIn(r, s.Growth)/parts)
	}
	return max(min(period, longest), least)
}

// FullWithin tells whether a table that goes unread for d, seconds at most, may be full meanwhile, at max_insert_rate or its
// own growth, where a step would have prevented it.
func FullWithin(p Policy, r Reading, s Sampling, d time.Duration) bool {
	rate := max(p.MaxInsertRate, s.Growth)
	return r.Max > 0 && rate > 0 && !s.Barred && !noStep(p, r) && fillsIn(r, rate) < d
}

// noStep tells whether no step can follow from a reading as things are: in observe mode and at the ceiling.
func noStep(p Policy, r Reading) bool { return p.Mode != ModeRemediate || r.Max >= p.Ceiling }

// fillsIn is how long the free entries last at so many a second, at most so long that a part of it is MaxPeriod in any
// case.
func fillsIn(r Reading, rate float64) time.Duration {
	return time.Duration(min(float64(r.Free())/rate, hasteMost*MaxPeriod.Seconds()) * float64(time.Second))
}
