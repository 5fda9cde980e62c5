package remediate

import "time"

// unverifiedEvery is the least time between two events about lines that nothing bears out.
const unverifiedEvery = time.Minute

// unverifiedLines gathers lines that nothing bears out.
type unverifiedLines struct {
	Unverified
	due time.Time
}

func (u *unverifiedLines) add(m Match, at time.Time) {
	if u.Count == 0 {
		u.Unverified = Unverified{First: at, Text: m.Text, NetNS: m.NetNS, PerSource: map[string]int{}}
	}
	u.Count += m.Count
	u.Last = at
	if key := m.Key(); u.PerSource[key] > 0 || len(u.PerSource) < mostStreams {
		u.PerSource[key] += m.Count
	}
}

// flushUnverified publishes such lines: the first at once, then at most once a minute.
func (t *Tracker) flushUnverified(now time.Time) {
	u := &t.unverified
	if u.Count == 0 || now.Before(u.due) {
		return
	}
	t.emit(now, EventMatchUnverified, u.Unverified)
	u.Unverified, u.due = Unverified{}, now.Add(unverifiedEvery)
}
