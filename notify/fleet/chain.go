package fleet

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/ctwarden/ctwarden/notify/oncall"
)

// groupFor is the group that takes an incident, which is new if there is none.
func (f *Fleet) groupFor(i *incident, now int64) *group {
	if t := f.talkerFor(i); t != nil && !i.closed {
		return t
	}
	key := i.cause + i.host.class.key
	if g := f.chained(key, i); g != nil {
		return g
	}
	id := f.freeID(letterOf(i), i.host.site.name, i.host.name, i.id)
	if g := f.groups[id]; g != nil && f.past(g, i) {
		id = f.freeID(letterOf(i), id, "again") // it began that one, was ended by mistake, and is news by now
	}
	return f.beginFor(i, key, id, now)
}

func letterOf(i *incident) string {
	if i.cause == oncall.CauseChains {
		return letterChains
	}
	return letterConntrack
}

// beginFor makes the group of that ID, for an incident that no other takes.
func (f *Fleet) beginFor(i *incident, key, id string, now int64) *group {
	if g := f.groups[id]; g != nil {
		return g // the one that it began before a crash, which others joined
	}
	before := f.goingOn(key, i)
	g := f.begin(id, KindConntrack, i.cause, now)
	g.by, g.key, g.opened = i.host.class.by, key, i.opened
	f.byKey[key] = append(f.byKey[key], g)
	if before != nil {
		f.follow(g, before, now)
	}
	return g
}

// chained finds the open group of a cause and values that takes an incident; nil: there is none. There are several where
// what came later was news that had to wake somebody. Then the one of the incident's own time comes first, so that events
// that come again after a crash find the group that they had, the latest after it, and then any other: times are the hosts'
// word, and whatever a host says of them, nothing begins another group that is no news to one that there is.
func (f *Fleet) chained(key string, i *incident) *group {
	var then, latest *group
	open := f.openOf(key)
	for _, g := range open {
		if latest == nil || later(g, latest) {
			latest = g
		}
		if g.opened <= i.at && (then == nil || later(g, then)) {
			then = g
		}
	}
	for _, g := range []*group{then, latest} {
		if g != nil && f.takes(g, i) {
			return g
		}
	}
	var other *group
	for _, g := range open {
		if f.takes(g, i) && (other == nil || later(g, other)) {
			other = g
		}
	}
	return other
}

// talkerFor finds the open group of an incident's address that takes it, the latest first; nil: there is none.
func (f *Fleet) talkerFor(i *incident) *group {
	who := i.talkerKey()
	latest := f.byTalker[who]
	if who == "" || latest == nil || f.takes(latest, i) {
		return latest
	}
	var other *group
	for _, g := range f.groups {
		if g.talkerKey == who && f.takes(g, i) && (other == nil || later(g, other)) {
			other = g
		}
	}
	return other
}

// openOf are the open groups of a cause and values.
func (f *Fleet) openOf(key string) []*group {
	all := f.byKey[key]
	open := slices.DeleteFunc(all, func(g *group) bool { return g.closed != 0 || g.key != key })
	switch {
	case len(open) == len(all):
	case len(open) == 0:
		delete(f.byKey, key)
	default:
		f.byKey[key] = open
	}
	return open
}

// later tells whether a group is of a later time than another.
func later(a, b *group) bool {
	return cmp.Or(cmp.Compare(a.opened, b.opened), cmp.Compare(a.begun, b.begun), cmp.Compare(a.id, b.id)) > 0
}

// takes tells whether a group takes one more incident: it has open ones, or took its last one a short while ago and is not
// over; and people need not be woken on account of it. A host that is in a group goes on with it until that is over by the
// hub's clock, so that none can begin more than one in that time by what it says of the time.
func (f *Fleet) takes(g *group, i *incident) bool {
	if g.closed != 0 || i.outgrows(g) || f.past(g, i) {
		return false
	}
	if g.isOpen() || i.at <= g.quietEvent || i.taken-i.at > int64(f.cfg.GroupWait) && i.host.isIn(g) {
		return true // then, if not now
	}
	return i.at-g.last < int64(f.cfg.GroupWindow) && i.at-g.quietEvent < int64(f.cfg.GroupWait)
}

// past tells whether an incident that refuses connections is news to those who know of a group: somebody has
// acknowledged it, and looks at what was there then, or its last host began to refuse them a group window ago or more, and
// this is another one. It belongs to another group, since neither PagerDuty nor a person who looks after a trouble is woken by
// more of the same.
func (f *Fleet) past(g *group, i *incident) bool {
	return i.critical && !i.closed && g.critical && !g.historical &&
		(g.ackBy != "" || len(g.pages) > 0 && i.hot-g.hot >= int64(f.cfg.GroupWindow) && !f.repeats(g, i))
}

// repeats tells whether an incident is more of the same to those who know of a group: its host refuses connections there in
// another incident, or did a short while ago. By the hub's clock too, or a host could make groups by what it says of the time.
func (f *Fleet) repeats(g *group, i *incident) bool {
	return slices.ContainsFunc(i.host.incidents, func(o *incident) bool {
		return o != i && o.group == g && o.critical && (o.hot < i.hot || o.hot == i.hot && o.id < i.id) &&
			(!o.closed || i.hot-max(o.closedAt, o.taken) < int64(f.cfg.UpdateEvery))
	})
}

// heat notes when a host began to refuse connections in a group. One that does so again and again does not keep others from
// being news, and one that is over when it is first heard of is nothing that the next one could join.
func (f *Fleet) heat(g *group, i *incident) {
	if !i.closed && !f.repeats(g, i) {
		g.hot = max(g.hot, i.hot)
	}
}

// isIn tells whether a host has an incident in a group.
func (h *host) isIn(g *group) bool {
	return slices.ContainsFunc(h.incidents, func(i *incident) bool { return i.group == g })
}

// goingOn is the open group that people were told of and that did not take an incident; nil: there is none.
func (f *Fleet) goingOn(key string, i *incident) *group {
	var before *group
	consider := func(g *group) {
		if g != nil && g.isOpen() && f.past(g, i) && (before == nil || later(g, before)) {
			before = g
		}
	}
	for _, g := range f.openOf(key) {
		consider(g)
	}
	if who := i.talkerKey(); before == nil && who == i.lead {
		consider(f.byTalker[who]) // else it is asked next, see [Fleet.lead]
	}
	return before
}

// follow has two groups refer to each other of which the one is news beside the other.
func (f *Fleet) follow(g, before *group, now int64) {
	g.follows = before.id
	state := "not acknowledged"
	if before.ackBy != "" {
		state = "acknowledged by " + before.ackBy
	}
	f.refer(g, before, fmt.Sprintf("news beside group %s, which is open since %s and %s", before.id,
		moment(before.opened).Format("15:04:05 UTC"), state), now)
	f.refer(before, g, "more refuses connections, which is news: see group "+g.id, now)
}

// followAnew finds what a group that was made anew after a crash follows.
func (f *Fleet) followAnew(g *group, now int64) {
	var before *group
	for _, o := range f.groups {
		if o != g && o.closed == 0 && sameTrouble(o, g) && len(o.pages) > 0 && later(g, o) && (before == nil || later(o, before)) {
			before = o
		}
	}
	if before != nil {
		f.follow(g, before, now)
	}
}

// moveOn gives an incident another group that began to refuse connections in one that it is news to, or that has only such as
// fill up.
func (f *Fleet) moveOn(i *incident, now int64) {
	old, key := i.group, i.cause+i.host.class.key
	g := f.talkerFor(i)
	if g == nil {
		g = f.chained(key, i)
	}
	if g == nil {
		g = f.beginFor(i, key, f.freeID(letterOf(i), i.host.site.name, i.host.name, i.id, "critical"), now)
	}
	f.join(g, i, now)
	if milestone(g.sums.hosts) {
		f.note(old, i.hot, i.host, whereIs(i)+" refuses connections: it goes on in group "+g.id, g.sums.hosts == 1)
	}
	f.touch(i.host)
	f.news(old, now)
	old.wake(now)
	if i.outgrows(old) && len(old.pages) > 0 {
		f.refer(old, g, "more than filling by now: see group "+g.id, now)
	}
	if len(old.members) == 0 && len(old.pages) == 0 && old.base.Incidents == 0 {
		old.closed = now
		f.removeGroup(old.id) // nobody knows of it
		f.ledger.mark(groupKey(old.id))
	}
}

// paced is before when a sender is not told of a group that is more of a trouble that it was told of; 0: it may be told. One
// that follows another waits until UpdateEvery after the last trigger. One whose hosts have all been through the same a short
// while ago waits twice as long as the last time, an hour at most, but no longer than UpdateEvery if it lasts: a table that
// overflows for a moment every few minutes does not wake somebody each time. Pause is how long that is.
func (f *Fleet) paced(g *group, to string) (due, pause int64) {
	every := int64(f.cfg.UpdateEvery)
	if g.follows != "" {
		for _, o := range f.groups {
			if at := o.triggered(to); at != 0 && o != g && (o.id == g.follows || sameTrouble(o, g)) {
				due = max(due, at+every)
			}
		}
	}
	var last *group
	for o := range g.returns() {
		if at := o.triggered(to); at != 0 && (last == nil || at > last.triggered(to)) {
			last = o
		}
	}
	if last == nil {
		return due, 0
	}
	pause = max(every, min(2*last.pause, int64(longestUpdate)))
	at := last.triggered(to)
	return max(due, at+every, min(at+pause, g.begun+every)), pause
}

// triggered is when a sender was last told of a group by a page that wakes; 0: never.
func (g *group) triggered(to string) int64 {
	if p := g.lastTrigger(to); p != nil {
		return nanos(p.DueAt)
	}
	return 0
}

// returns are the other groups of the same trouble that the hosts were in which refuse connections in a group, if each was
// in one within the hour before it began here.
func (g *group) returns() map[*group]bool {
	earlier := map[*group]bool{}
	for _, i := range g.members {
		if i.closed || !i.critical {
			continue
		}
		was := false
		for _, o := range i.host.incidents {
			if o != i && o.critical && o.group != nil && o.group != g && sameTrouble(o.group, g) && i.taken-o.taken < int64(longestUpdate) {
				earlier[o.group], was = true, true
			}
		}
		if !was {
			return nil
		}
	}
	return earlier
}

func sameTrouble(a, b *group) bool {
	return a.key != "" && a.key == b.key || a.talkerKey != "" && a.talkerKey == b.talkerKey
}
