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
)

// SamplePeriod is how long a table may go unread after a reading: half the time in which it could fill up at
// max_insert_rate, or at its own growth (entries per second) where that is faster. While connections are being refused it
// stays short, since the kernel goes silent after ten lines. Where no step can follow, in observe mode, at the ceiling or
// barred ([Tracker.Barred]), nothing is saved by haste.
func SamplePeriod(p Policy, r Reading, growth float64, urgent, barred bool) time.Duration {
	longest, least := MaxPeriod, MinPeriod
	if urgent {
		longest = urgentPeriod
	}
	if barred || p.Mode != ModeRemediate || r.Max >= p.Ceiling {
		least = barredPeriod
		if r.Fill() >= FullShare {
			least = fullPeriod
		}
	}
	if p.MaxInsertRate <= 0 || r.Max == 0 {
		return max(longest, least)
	}
	seconds := float64(r.Free()) / (2 * max(p.MaxInsertRate, growth))
	return max(min(time.Duration(min(seconds, 1)*float64(time.Second)), longest), least)
}
