package fleet

import (
	"slices"
	"time"
)

// activeAt tells whether any of the windows is on, and when that changes next at the earliest. No windows: always.
func activeAt(windows []Window, now int64) (active bool, change int64) {
	if len(windows) == 0 {
		return true, never
	}
	change = never
	at := time.Unix(0, now)
	for i := range windows {
		on, next := windows[i].at(at)
		active, change = active || on, min(change, nanos(next))
	}
	return active, change
}

// at tells whether the window is on, and when it begins or ends next. A window begins and ends at times of day, so on days
// on which clocks change it is longer or shorter.
func (w *Window) at(now time.Time) (on bool, next time.Time) {
	loc := w.Location
	if loc == nil {
		loc = time.UTC
	}
	now = now.In(loc)
	next = now.AddDate(0, 0, 8)
	for day := -1; day <= 7; day++ {
		from, to := w.on(now, day)
		if !w.hasDay(now, day) {
			continue
		}
		switch {
		case now.Before(from):
			if from.Before(next) {
				next = from
			}
		case now.Before(to):
			on = true
			if to.Before(next) {
				next = to
			}
		}
	}
	return on, next
}

// on is when the window of that many days after now begins and ends.
func (w *Window) on(now time.Time, day int) (from, to time.Time) {
	y, m, d := now.Date()
	clock := func(day int, of time.Duration) time.Time {
		return time.Date(y, m, d+day, 0, 0, int(of/time.Second), 0, now.Location())
	}
	end := day
	if w.To <= w.From {
		end++
	}
	return clock(day, w.From), clock(end, w.To)
}

// hasDay tells whether the window begins on the day that lies so many days after now.
func (w *Window) hasDay(now time.Time, day int) bool {
	y, m, d := now.Date()
	begins := time.Date(y, m, d+day, 12, 0, 0, 0, now.Location()).Weekday()
	return len(w.Days) == 0 || slices.Contains(w.Days, begins)
}
