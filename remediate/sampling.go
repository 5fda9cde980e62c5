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
	// haste is how many readings fall into the time in which a table could fill up at max_insert_rate: one that fills up
	// two and a half times as fast is read in time all the same. hasteLess is the same where no step can follow, and as far
	// as haste would have it read oftener than every hastePeriod: a table may stand high for days. hasteMost is the same of
	// the time in which it will be full at a growth beyond that rate.
	haste       = 4
	hasteLess   = 2
	hasteMost   = 8
	hastePeriod = 15 * time.Millisecond
)

// SamplePeriod is how long a table may go unread after a reading: a quarter of the time in which it could fill up at
// max_insert_rate (where that is less than 15 ms, up to half of the time), and an eighth of that in which it will be at its
// own growth (entries per second) where that is faster. While connections are being refused it stays short, since the kernel goes silent after ten lines. Where no
// step can follow, in observe mode, at the ceiling or barred ([Tracker.Barred]), nothing is saved by haste.
func SamplePeriod(p Policy, r Reading, growth float64, urgent, barred bool) time.Duration {
	longest, least := MaxPeriod, MinPeriod
	if urgent {
		longest = urgentPeriod
	}
	barred = barred || p.Mode != ModeRemediate || r.Max >= p.Ceiling
	if barred {
		least = barredPeriod
		if r.Fill() >= FullShare {
			least = fullPeriod
		}
	}
	if p.MaxInsertRate <= 0 || r.Max == 0 {
		return max(longest, least)
	}
	lasts := func(rate float64) time.Duration {
		return time.Duration(min(float64(r.Free())/rate, haste) * float64(time.Second)) // longer is MaxPeriod in any case
	}
	period := lasts(p.MaxInsertRate) / hasteLess
	if !barred {
		period = max(period*hasteLess/haste, min(period, hastePeriod))
	}
	if growth > p.MaxInsertRate {
		period = min(period, lasts(growth)/hasteMost)
	}
	return max(min(period, longest), least)
}
