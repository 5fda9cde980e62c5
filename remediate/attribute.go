package remediate

import (
	"time"
)

const (
	// mostLineIncidents bounds the incidents that rest on lines alone.
	mostLineIncidents = 64
	// mostStreams bounds what is kept for each stream.
	mostStreams = 64
	// mostCount bounds what one record is believed to count.
	mostCount = 1 << 30
)

// Match takes a record. A round of readings with the counters must have been taken after the record was written and
// handed to [Tracker.Read] before: what the counters bear out is known by now.
func (t *Tracker) Match(now time.Time, m Match) []Event {
	t.endBoot(now)
	t.watchClock(now)
	m = m.bounded()
	at := t.recordTime(now, m)
	switch o := t.explains(m, at); {
	case o != nil:
		t.book(now, o, m, at)
	case t.old(now, m, at):
		if !t.lateFor(m, at) {
			t.addPast(now, m, at)
		}
	case m.Count == 0:
		if _, known := t.notices[m.Key()]; known || len(t.notices) < mostStreams {
			t.notices[m.Key()] = m
		}
	case t.lateFor(m, at):
	case t.believed(m) && t.lineIncidents() < mostLineIncidents:
		t.openByLine(now, m, at)
	case t.refusedAfterAll(now, m, at):
	default:
		t.addUnverified(now, m, m.writtenAt(now))
	}
	return t.take()
}

// bounded is the match with counts that can be added up for ever.
func (m Match) bounded() Match {
	m.Count = min(max(m.Count, 0), mostCount)
	m.Suppressed = min(max(m.Suppressed, 0), mostCount)
	return m
}

// old tells whether a record was written, at that time, before there was any reading to check it against. Where no time
// has a monotonic part, a clock that was set back since the start would make all records old: then only those well before
// now are.
func (t *Tracker) old(now time.Time, m Match, at time.Time) bool {
	if m.BootID != "" && m.BootID != t.cfg.BootID {
		return true
	}
	start := t.cfg.Start.Add(-startSlack)
	if now.Before(t.cfg.Start) {
		start = now.Add(-recordSlack)
	}
	return !m.Time.IsZero() && at.Before(start)
}

// explains returns the open incident that a record belongs to, or nil. A record that names no namespace may mean any:
// the first one if it is refusing, else the one that refused last.
func (t *Tracker) explains(m Match, at time.Time) *ongoing {
	if m.BootID != "" && m.BootID != t.cfg.BootID {
		return nil
	}
	if tb := t.meant(m); tb != nil && tb.ongoing != nil && (tb.ongoing.covers(at) || t.believed(m)) {
		return tb.ongoing
	}
	if m.NetNS != 0 {
		return nil
	}
	var best *ongoing
	for _, o := range t.st.Open {
		switch {
		case !o.Verified || !o.covers(at):
		case best == nil, o.NetNS.Init, !best.NetNS.Init && o.RefusedAt.After(best.RefusedAt):
			best = o
		}
	}
	return best
}

// meant is the table that a record names, or where it names none, the first namespace's if its counters are out of
// reach; nil: it is not known which.
func (t *Tracker) meant(m Match) *table {
	if m.NetNS != 0 {
		return t.tables[m.NetNS]
	}
	if tb := t.tables[t.first]; tb != nil && tb.last.Blind {
		return tb
	}
	return nil
}

// believed tells whether a record stands by itself although no counter can be read for it: it means a namespace whose
// counters are out of reach, and comes from where only the kernel can write.
func (t *Tracker) believed(m Match) bool {
	if m.Source == SourceSyslog {
		return false
	}
	tb := t.meant(m)
	if tb == nil {
		return m.NetNS != 0
	}
	return tb.last.Blind || tb.last.At.IsZero()
}

// lineIncidents is how many open incidents rest on lines alone.
func (t *Tracker) lineIncidents() int {
	n := 0
	for _, o := range t.st.Open {
		if !o.Verified {
			n++
		}
	}
	return n
}

// openByLine begins an incident that no counter bears out.
func (t *Tracker) openByLine(now time.Time, m Match, at time.Time) {
	tb := t.meant(m)
	if tb == nil {
		tb = t.table(NetNS{Inode: m.NetNS})
	}
	o := t.open(now, tb, SeverityCritical)
	o.Verified, o.fresh = false, false
	t.book(now, o, m, at)
	o.Dirty = false
	t.emit(now, EventIncidentOpened, o.snapshot())
}

// book counts a record, with the notice of suppressed messages that came just before it.
func (t *Tracker) book(now time.Time, o *ongoing, m Match, at time.Time) {
	t.booked++
	key := m.Key()
	o.count(key, m.Count, m.Suppressed)
	if m.Count == 0 {
		return
	}
	if n, ok := t.notices[key]; ok {
		delete(t.notices, key)
		if n.Time.IsZero() || at.Sub(n.Time) <= suppressedBefore {
			o.count(key, 0, n.Suppressed)
		}
	}
	if !t.believed(m) {
		return
	}
	o.TroubleAt = now
	if o.Severity != SeverityCritical {
		o.Severity = SeverityCritical
		t.update(now, o)
	}
}

// lateFor tells whether a record belongs to an incident that is closed already.
func (t *Tracker) lateFor(m Match, at time.Time) bool {
	slack := recordSlack
	if t.believed(m) {
		slack = 0 // it may as well be the first of a new incident
	}
	for i := range t.st.Closed {
		end := *t.st.Closed[i].ClosedAt
		if t.st.Closed[i].Historical {
			end = end.Add(-t.cfg.CloseAfter)
		}
		if t.st.Closed[i].explainsLate(m, at, end.Add(slack)) {
			return true
		}
	}
	return false
}

// explainsLate tells whether a record of that time belongs to an incident with refusals that ended at end.
func (i *Incident) explainsLate(m Match, at, end time.Time) bool {
	if m.NetNS != 0 && m.NetNS != i.NetNS.Inode || m.BootID != "" && i.BootID != "" && m.BootID != i.BootID {
		return false
	}
	return (i.Matches > 0 || i.Drops+i.EarlyDrops > 0) && !at.Before(i.OpenedAt.Add(-recordSlack)) && !at.After(end)
}
