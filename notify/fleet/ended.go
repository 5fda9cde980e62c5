package fleet

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// endedUnlisted is why an incident was ended that its host's states list no longer: its end was lost.
	endedUnlisted = "the host no longer lists it"
	// missedStates is how many states in a row must not list it.
	missedStates = 2
)

var errEndsByItself = errors.New("the hold for the fleet's steps ends by itself, when the hour has room again")

// unlisted ends the open incidents of a host that states do not list which are newer than what was last heard of them.
func (f *Fleet) unlisted(h *host, listed []string, at, now int64) {
	for _, i := range slices.Clone(h.incidents) {
		if !i.live() {
			continue
		}
		switch is := func(id string) bool { return id == i.id || boundID(id) == i.id }; {
		case slices.ContainsFunc(listed, is):
			i.missed = 0
		case at-max(i.at, i.taken) <= int64(f.cfg.GroupWait):
		default:
			if i.missed++; i.missed >= missedStates {
				f.end(i, endedUnlisted, at, now)
			}
		}
	}
}

// end ends an incident without its host's word.
func (f *Fleet) end(i *incident, why string, at, now int64) {
	f.change(i, func() { i.closed, i.closedAt, i.ended = true, at, why })
	f.setLead(i, "")
	f.touch(i.host)
	if g := i.group; g != nil {
		f.noteClosed(g, i, now)
		f.news(g, now)
	}
}

// endAll ends a host's open incidents and tells whether there were any.
func (f *Fleet) endAll(h *host, why string, now int64) (any bool) {
	for _, i := range slices.Clone(h.incidents) {
		if i.live() {
			f.end(i, why, now, now)
			any = true
		}
	}
	return any
}

// takeEnded takes an event of an incident that was ended without its host's word. What says that it lasts brings it back,
// unless a person ended it and it is no worse than it was then.
func (f *Fleet) takeEnded(i *incident, ev *Event, d *remediate.Incident, at, now int64) {
	if at <= i.at {
		return // it came again, or late
	}
	i.last = hash64(ev.ID)
	if ev.Type == remediate.EventIncidentClosed {
		f.change(i, func() { i.set(d, at, true) })
		f.touch(i.host)
		return
	}
	worse := d.Severity == remediate.SeverityCritical && !i.critical
	if i.ended != endedUnlisted && !worse {
		return
	}
	f.change(i, func() {
		i.closed, i.closedAt, i.ended = false, 0, ""
		i.set(d, at, false)
	})
	f.touch(i.host)
	if g := i.group; g != nil && g.closed == 0 && !i.outgrows(g) && !f.past(g, i) {
		g.quiet, g.quietEvent = 0, 0
		f.note(g, now, i.host, whereIs(i)+" is heard of again: its incident lasts", true)
		f.raise(g, i, now)
		f.news(g, now)
		f.lead(i, now)
		return
	}
	f.leave(i)
	if i.critical {
		i.hot = at // which is news
	}
	f.admit(i, now)
}

// Resolve ends a group, or all open incidents of that ID, on a person's word: where an end was lost, or a host will never
// tell of it. What its hosts tell later begins anew where it is worse. The errors are [ErrUnknown], [ErrOver], and one for
// the group of the fleet's budget, which ends by itself.
func (f *Fleet) Resolve(id, by string, now time.Time) error {
	at := nanos(now)
	f.settle(at)
	why := "resolved by " + cmp.Or(text(by, mostName), "somebody")
	g := f.groups[id]
	switch {
	case g == nil:
		return f.resolveIncidents(id, why, at)
	case g.closed != 0 || g.historical:
		return ErrOver
	case g.kind == KindBudget:
		return errEndsByItself
	}
	f.note(g, at, nil, why, true)
	for _, i := range slices.Clone(g.members) {
		if i.live() {
			f.end(i, why, at, at)
		}
	}
	f.finish(g, at)
	return nil
}

// resolveIncidents ends the incidents of an ID, on whichever hosts they are.
func (f *Fleet) resolveIncidents(id, why string, now int64) error {
	id = boundID(id)
	known, ended := false, false
	for _, h := range f.hosts {
		i := h.find(id)
		known = known || i != nil
		if i != nil && i.live() {
			f.end(i, why, now, now)
			ended = true
		}
	}
	switch {
	case ended:
		return nil
	case known:
		return ErrOver
	}
	return ErrUnknown
}
