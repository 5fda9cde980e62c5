package remediate

import "time"

const (
	// leastJump is the least that the wall clock must be set by to count as set.
	leastJump = 2 * time.Second
	// jumpLasts is how long after that records may still come that were written before.
	jumpLasts = 10 * time.Second
)

// clockJump is the last time that the wall clock was set, or that the machine slept, which looks the same: the wall clock
// goes on while the monotonic one stands still.
type clockJump struct {
	last time.Time     // when the clocks were last compared
	by   time.Duration // how far the wall clock went ahead of the monotonic one
	at   time.Time
}

// watchClock notices that the wall clock was set. Times without a monotonic part show nothing.
func (t *Tracker) watchClock(now time.Time) {
	last := t.clock.last
	t.clock.last = now
	if last.IsZero() {
		return
	}
	by := now.Round(0).Sub(last.Round(0)) - now.Sub(last)
	if by >= leastJump || by <= -leastJump {
		t.clock.by, t.clock.at = by, now
	}
}

// Anchor puts the wall-clock time of a record that came at now on the monotonic clock of now, so that it can be compared
// with earlier times of this process whatever the wall clock was set to meanwhile. A time that has a monotonic part stays
// as it is; so does every time where now has none.
func Anchor(now, at time.Time) time.Time {
	wall := now.Round(0)
	if wall == now || at != at.Round(0) {
		return at
	}
	return now.Add(at.Sub(wall))
}

// writtenAt is when a record was written; one without a time is of now.
func (m Match) writtenAt(now time.Time) time.Time {
	if m.Time.IsZero() {
		return now
	}
	return m.Time
}

// recordTime is when a record was written, as it is compared with the tracker's times. Shortly after the clock was set,
// either clock may have been the record's: it was written lately if one of them says so.
func (t *Tracker) recordTime(now time.Time, m Match) time.Time {
	at := Anchor(now, m.writtenAt(now))
	if t.clock.at.IsZero() || now.Sub(t.clock.at) > jumpLasts || m.Time != m.Time.Round(0) {
		return at
	}
	if before := at.Add(t.clock.by); now.Sub(before).Abs() < now.Sub(at).Abs() {
		return before
	}
	return at
}
