package remediate

import "time"

// unverifiedEvery is the least time between two events about lines that nothing bears out.
const unverifiedEvery = time.Minute

// unverifiedLines gathers lines that nothing bears out. It is saved, since the positions of these lines are saved too.
type unverifiedLines struct {
	Unverified
	// Due is when the next event about them may be published; zero: at once.
	Due time.Time `json:"due,omitzero"`
}

// resume mends what a restart brings about: JSON makes an empty map nil, and the clock may have been set back since.
func (u *unverifiedLines) resume(start time.Time) {
	if u.PerSource == nil {
		u.PerSource = map[string]int{}
	}
	if latest := start.Add(unverifiedEvery); u.Due.After(latest) {
		u.Due = latest
	}
}

// addUnverified counts a line that nothing bears out.
func (t *Tracker) addUnverified(now time.Time, m Match, at time.Time) {
	t.booked++
	u := &t.unverified
	if u.Count == 0 {
		u.Unverified = Unverified{First: at, Text: m.Text, NetNS: m.NetNS, PerSource: map[string]int{}}
	}
	u.Count += m.Count
	u.Last = at
	if key := m.Key(); u.PerSource[key] > 0 || len(u.PerSource) < mostStreams {
		u.PerSource[key] += m.Count
	}
	t.flushUnverified(now)
}

// flushUnverified publishes such lines: the first at once, then at most once a minute.
func (t *Tracker) flushUnverified(now time.Time) {
	if !now.Before(t.unverified.Due) {
		t.tellUnverified(now)
	}
}

func (t *Tracker) tellUnverified(now time.Time) {
	if t.unverified.Count == 0 {
		return
	}
	t.emit(now, EventMatchUnverified, t.unverified.Unverified)
	t.unverified = unverifiedLines{Due: now.Add(unverifiedEvery)}
}
