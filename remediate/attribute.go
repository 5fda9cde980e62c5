package remediate

import (
	"time"
)

const (
	// unverifiedEvery is the least time between two events about lines that nothing bears out.
	unverifiedEvery = time.Minute
	// historySettle is how long after the last old record the history is published, so that slower streams of the
	// same records are heard first.
	historySettle = 2 * time.Second
)

// Match takes a record. A round of readings with the counters must have been taken after the record was written and
// handed to [Tracker.Read] before: what the counters bear out is known by now.
func (t *Tracker) Match(now time.Time, m Match) []Event {
	at := m.Time
	if at.IsZero() {
		at = now
	}
	o := t.explains(m, at)
	switch {
	case o != nil && m.Count == 0:
		o.count(m.Key(), 0, m.Suppressed)
	case o != nil:
		t.book(o, m, at)
	case t.old(m):
		if !t.lateFor(m, at) {
			t.history.Add(m)
			t.historyAt = now
		}
	case m.Count == 0:
		t.notices[m.Key()] = m
	case t.lateFor(m, at):
	case t.believed(m):
		o = t.open(now, t.table(NetNS{Inode: m.NetNS}), SeverityCritical)
		o.Verified, o.fresh = false, false
		t.book(o, m, at)
		o.TroubleAt = now
		t.emit(now, EventIncidentOpened, o.snapshot())
	default:
		t.unverified.add(m, at)
		t.flushUnverified(now)
	}
	if o != nil && !o.Verified && m.Count > 0 {
		o.TroubleAt = now
	}
	return t.take()
}

// CaughtUp tells that every source has delivered what was there before the start, so that the history is whole.
func (t *Tracker) CaughtUp() { t.caughtUp = true }

// old tells whether a record was written before there was any reading to check it against.
func (t *Tracker) old(m Match) bool {
	if m.BootID != "" && m.BootID != t.cfg.BootID {
		return true
	}
	return !m.Time.IsZero() && m.Time.Before(t.cfg.Start.Add(-startSlack))
}

// explains returns the open incident that a record belongs to, or nil. A record that names no namespace may mean any:
// the first one if it is refusing, else the one that refused last.
func (t *Tracker) explains(m Match, at time.Time) *ongoing {
	if m.BootID != "" && m.BootID != t.cfg.BootID {
		return nil
	}
	if m.NetNS != 0 {
		if tb := t.tables[m.NetNS]; tb != nil && tb.ongoing != nil && tb.ongoing.covers(at) {
			return tb.ongoing
		}
		return nil
	}
	var best *ongoing
	for _, o := range t.st.Open {
		switch {
		case !o.Verified || o.BootID != t.cfg.BootID || !o.covers(at):
		case best == nil, o.NetNS.Init, !best.NetNS.Init && o.RefusedAt.After(best.RefusedAt):
			best = o
		}
	}
	return best
}

// book counts a match, with the notice of suppressed messages that came just before it.
func (t *Tracker) book(o *ongoing, m Match, at time.Time) {
	key := m.Key()
	o.count(key, m.Count, m.Suppressed)
	if n, ok := t.notices[key]; ok {
		delete(t.notices, key)
		if n.Time.IsZero() || at.Sub(n.Time) <= suppressedBefore {
			o.count(key, 0, n.Suppressed)
		}
	}
}

// lateFor tells whether a record belongs to an incident that is closed already.
func (t *Tracker) lateFor(m Match, at time.Time) bool {
	for _, i := range t.st.Closed {
		if m.NetNS != 0 && m.NetNS != i.NetNS.Inode || m.BootID != "" && i.BootID != "" && m.BootID != i.BootID {
			continue
		}
		if (i.Matches > 0 || i.Drops+i.EarlyDrops > 0) && !at.Before(i.OpenedAt.Add(-recordSlack)) &&
			!at.After(i.ClosedAt.Add(recordSlack)) {
			return true
		}
	}
	return false
}

// believed tells whether a record stands by itself although no counter can be read for it: it names a namespace whose
// counters are out of reach, and comes from where only the kernel can write.
func (t *Tracker) believed(m Match) bool {
	if m.NetNS == 0 || m.Source == SourceSyslog {
		return false
	}
	tb := t.tables[m.NetNS]
	return tb == nil || tb.last.Blind || tb.last.At.IsZero()
}

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
	u.PerSource[m.Key()] += m.Count
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

// flushHistory publishes the incidents of old records once they are whole.
func (t *Tracker) flushHistory(now time.Time) {
	if !t.caughtUp || t.historyAt.IsZero() || now.Sub(t.historyAt) < historySettle {
		return
	}
	for _, p := range t.history.Incidents() {
		i := p.Incident
		i.ID = hashID("history", t.cfg.Host, i.BootID, i.NetNS.Inode, i.OpenedAt.UnixNano())
		if i.ClosedAt.After(now) {
			i.ClosedAt = &now
		}
		opened := i
		opened.ClosedAt = nil
		t.events = append(t.events,
			Event{ID: hashID(EventIncidentOpened, i.ID), Type: EventIncidentOpened, Time: now, Data: opened},
			Event{ID: hashID(EventIncidentClosed, i.ID), Type: EventIncidentClosed, Time: now, Data: i})
		t.remember(i)
	}
	t.history, t.historyAt = NewHistory(t.cfg.CloseAfter), time.Time{}
}
