package remediate

import "time"

const (
	// MinPeriod and MaxPeriod bound the time between two readings of a table.
	MinPeriod = 5 * time.Millisecond
	MaxPeriod = time.Second
	// urgentPeriod is the longest time between two readings while connections are being refused.
	urgentPeriod = 10 * time.Millisecond
)

// SamplePeriod is how long a table may go unread after a reading: half the time in which it could fill up at
// max_insert_rate, or at its own growth (entries per second) where that is faster. While connections are being refused it
// stays short, since the kernel goes silent after ten lines.
func SamplePeriod(p Policy, r Reading, growth float64, urgent bool) time.Duration {
	longest := MaxPeriod
	if urgent {
		longest = urgentPeriod
	}
	if p.MaxInsertRate <= 0 || r.Max == 0 {
		return longest
	}
	seconds := float64(r.Free()) / (2 * max(p.MaxInsertRate, growth))
	if seconds >= longest.Seconds() {
		return longest
	}
	return max(time.Duration(seconds*float64(time.Second)), MinPeriod)
}
