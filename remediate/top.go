package remediate

import (
	"slices"
	"time"
)

const (
	// topEvery is the least time between two looks at who fills the table of an incident in which nothing turned worse.
	topEvery = 30 * time.Second
	// topAfter is how long after the opening and after a step no such look begins: the raise comes first.
	topAfter = 100 * time.Millisecond
	// topSparse bounds the walk through the one hash of all namespaces in which the kernel looks for the entries of one: for
	// each of them so many buckets and entries.
	topSparse = 256
	// Another address leads where it holds a quarter more (5/4) than the one that was told: two that hold about as much would
	// take turns.
	leadsBy, leadsOf = 5, 4
)

// TopAsk is a table of which it is to be found out who fills it.
type TopAsk struct {
	IncidentID string
	NetNS      NetNS
	Count      uint64 // of its entries, as last read
}

// AskTop tells of which table it is to be found out next who fills it, for [Tracker.SetTop]. It counts as asked with that:
// once when an incident opens, again when it turns critical, and every half a minute while it is open. False: of none now.
func (t *Tracker) AskTop(now time.Time) (TopAsk, bool) {
	if t.Settling() && within(now, t.st.Pending.At, topAfter) {
		return TopAsk{}, false
	}
	var next *ongoing
	for _, o := range t.st.Open {
		if t.topDue(now, o) && (next == nil || o.topBefore(next)) {
			next = o
		}
	}
	if next == nil {
		return TopAsk{}, false
	}
	next.topAsked, next.topWorst = now, next.Severity
	return TopAsk{IncidentID: next.ID, NetNS: next.NetNS, Count: t.tables[next.NetNS.Inode].last.Count}, true
}

func (t *Tracker) topDue(now time.Time, o *ongoing) bool {
	if within(now, o.OpenedAt, topAfter) || !o.topNews() && within(now, o.topAsked, topEvery) {
		return false
	}
	tb := t.tables[o.NetNS.Inode]
	if tb == nil || tb.ongoing != o {
		return false
	}
	walk := o.Buckets
	for _, other := range t.tables {
		walk += 2 * other.last.Count // an entry stands in it twice, once for each direction
	}
	return walk <= topSparse*tb.last.Count
}

// topNews tells whether it was not looked who fills the table since the incident is as bad as it is.
func (o *ongoing) topNews() bool { return o.topAsked.IsZero() || o.topWorst != o.Severity }

// topBefore orders incidents by whose turn it is.
func (o *ongoing) topBefore(other *ongoing) bool {
	if o.topNews() != other.topNews() {
		return o.topNews()
	}
	return o.topAsked.Before(other.topAsked)
}

// SetTop takes who fills the table of an open incident, the first with the most entries. The first answer is told at once,
// and so is another leader; else it goes with the next update that is due, and the last with the end. Of an incident that is
// closed, and of an empty table, nothing is kept.
func (t *Tracker) SetTop(now time.Time, incidentID string, top []Talker) []Event {
	o := t.incident(incidentID)
	if o == nil || len(top) == 0 {
		return nil
	}
	first := len(o.Top) == 0
	o.Top = slices.Clone(top)
	if first || o.anotherLeads() {
		t.update(now, o)
	}
	return t.take()
}

// anotherLeads tells whether another address leads than the one that was told.
func (o *ongoing) anotherLeads() bool {
	var told uint64
	for _, who := range o.Top {
		if who.Address == o.ToldLeader {
			told = who.Entries
		}
	}
	return o.Top[0].Address != o.ToldLeader && leadsOf*o.Top[0].Entries >= leadsBy*told
}

// toldTop notes who is told to lead.
func (o *ongoing) toldTop() {
	if len(o.Top) > 0 {
		o.ToldLeader = o.Top[0].Address
	}
}
