package fleet

import (
	"time"

	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

// Take takes one event. An event that was taken before changes nothing.
func (f *Fleet) Take(ev Event, now time.Time) {
	at := nanos(now)
	f.settle(at)
	h := f.host(ev.Site, ev.Host)
	f.heard(h, &ev, at)
	switch d := ev.Data.(type) {
	case remediate.Incident:
		f.takeIncident(h, &ev, &d, at)
	case remediate.Step:
		f.takeStep(h, &ev, &d, at)
	case remediate.AgentState:
		f.takeAgent(h, &ev, at)
	}
}

// heard notes that a host lived when an event was made.
func (f *Fleet) heard(h *host, ev *Event, now int64) {
	if h.setVersion(ev.Version) {
		f.touch(h)
	}
	at := min(nanos(ev.Time), now)
	if at <= h.seen {
		return
	}
	if h.seen == 0 {
		f.touch(h)
	}
	h.seen = at
	f.back(h, now)
	f.silent.next = min(f.silent.next, at+int64(f.cfg.SilentAfter))
}

func (f *Fleet) takeIncident(h *host, ev *Event, d *remediate.Incident, now int64) {
	at, closing := min(nanos(ev.Time), now), ev.Type == remediate.EventIncidentClosed
	id := boundID(d.ID)
	i := h.find(id)
	switch {
	case i == nil && h.folded > 0 && ev.Type != remediate.EventIncidentOpened:
		if closing {
			h.folded--
			f.touch(h)
		}
		return // one that is only counted
	case i == nil && h.buried(id):
		return
	case i == nil:
		i = f.newIncident(h, id, now)
		fallthrough
	case !i.known:
		i.set(d, at, closing)
		i.last = hash64(ev.ID)
		f.touch(h)
		f.admit(i, now)
		return
	case i.closed && i.ended != "":
		f.takeEnded(i, ev, d, at, now)
		return
	case i.closed, !closing && (at < i.at || at == i.at && i.last == hash64(ev.ID)):
		return // it came again, or late
	}
	i.last = hash64(ev.ID)
	f.update(i, d, at, closing, now)
}

// update takes a later state of a known incident.
func (f *Fleet) update(i *incident, d *remediate.Incident, at int64, closing bool, now int64) {
	was := i.critical
	f.change(i, func() { i.set(d, at, closing) })
	f.touch(i.host)
	g := i.group
	if g == nil {
		f.setLead(i, "")
		return
	}
	if !was && g.closed == 0 && (i.outgrows(g) || f.past(g, i)) {
		f.moveOn(i, now)
		f.lead(i, now)
		return
	}
	f.raise(g, i, now)
	if i.critical && !was && !i.closed && milestone(g.sums.critical) {
		f.note(g, at, i.host, whereIs(i)+" refuses connections", g.sums.critical == 1)
	}
	if closing {
		f.noteClosed(g, i, now)
	}
	f.news(g, now)
	f.lead(i, now)
}

// noteClosed books the end of an incident.
func (f *Fleet) noteClosed(g *group, i *incident, now int64) {
	if g.historical {
		f.closePast(g, now)
		return
	}
	switch {
	case i.ended != "":
		f.note(g, now, i.host, whereIs(i)+": its incident has ended: "+i.ended, g.sums.hosts <= manyHosts)
	case g.sums.hosts <= manyHosts:
		f.note(g, i.closedAt, i.host, whereIs(i)+" is quiet again", false)
	}
	if !g.isOpen() {
		g.quiet, g.quietEvent = now, i.at
		g.wake(now + int64(f.cfg.GroupWait))
		f.note(g, now, nil, "no incident is open any more", false)
	}
}

// admit finds the group of an incident that is heard of for the first time.
func (f *Fleet) admit(i *incident, now int64) {
	if i.historical {
		f.admitPast(i, now)
		return
	}
	g := f.groupFor(i, now)
	f.join(g, i, now)
	f.lead(i, now)
}

// join makes an incident a member of an open group.
func (f *Fleet) join(g *group, i *incident, now int64) {
	classes, hosts := len(g.sums.classes), g.sums.hosts
	f.leave(i)
	f.enter(g, i)
	g.last = max(g.last, min(i.opened, now))
	f.heat(g, i)
	if i.opened > 0 {
		g.opened = min(g.opened, i.opened)
	}
	if i.closed {
		if !g.isOpen() {
			g.quiet, g.quietEvent = now, i.at
		}
	} else {
		g.quiet, g.quietEvent = 0, 0
	}
	f.raise(g, i, now)
	if len(g.sums.classes) > classes {
		g.worse = g.worse || len(g.pages) > 0 // others may have to be told
		g.wake(now)
	}
	if g.silenced {
		g.wake(now)
	}
	f.noteJoined(g, i, hosts)
	f.news(g, now)
}

// pastSlot is how much time one group of old incidents covers: the more, the longer ago it was, so that a host cannot have a
// group made for every minute since 1970. What is older than hosts are remembered is all one.
func (f *Fleet) pastSlot(opened, now int64) (from time.Time) {
	slot := max(int64(f.cfg.GroupWindow), int64(time.Minute))
	switch age := now - opened; {
	case age > int64(f.cfg.ForgetAfter):
		return time.Time{}
	case age > 24*int64(time.Hour):
		slot = max(slot, 24*int64(time.Hour))
	case age > int64(time.Hour):
		slot = max(slot, int64(time.Hour))
	}
	return moment(opened - opened%slot)
}

// admitPast puts an incident found in old records into the group of its time. It is never paged.
func (f *Fleet) admitPast(i *incident, now int64) {
	c := i.host.class
	from := f.pastSlot(i.opened, now)
	id := groupID(letterHistorical, i.cause+c.key, from.Format(time.RFC3339))
	g := f.groups[id]
	if g == nil {
		g = f.begin(id, KindConntrack, i.cause, now)
		g.by, g.key, g.historical, g.opened = c.by, i.cause+c.key, true, i.opened
	}
	hosts := g.sums.hosts
	f.enter(g, i)
	g.opened, g.critical = min(g.opened, i.opened), g.critical || i.critical
	if g.critical && g.cause == oncall.CauseFilling {
		g.cause = oncall.CauseFull
	}
	f.noteJoined(g, i, hosts)
	f.closePast(g, now)
	f.news(g, now)
}

// closePast keeps the end of a group of old incidents right.
func (f *Fleet) closePast(g *group, now int64) {
	was := g.closed
	switch {
	case g.isOpen():
		g.closed = 0
	case g.closed == 0:
		g.closed = now
	}
	if g.closed != was {
		f.ledger.mark(groupKey(g.id))
	}
}

// takeAgent takes the start or the end of an agent.
func (f *Fleet) takeAgent(h *host, ev *Event, now int64) {
	at := min(nanos(ev.Time), now)
	if at <= h.agentAt {
		return // it came again, or late
	}
	h.agentAt, h.lastWord = at, 0
	if ev.Type == remediate.EventAgentStopped {
		h.lastWord = nanos(ev.Time)
	}
	f.touch(h)
	f.setStopped(h, ev.Type == remediate.EventAgentStopped, at, now)
}
