package fleet

import (
	"cmp"
	"slices"
	"time"
)

const (
	pruneEvery = int64(time.Minute)
	// keepClosed is how long what is closed stays.
	keepClosed = 24 * int64(time.Hour)
	// mostShard bounds the closed incidents of one shard, mostGroups the closed groups.
	mostShard  = 1000
	mostGroups = 2000
	// keepUnsent is how long a closed group stays at most that has pages to be sent.
	keepUnsent = 7 * keepClosed
)

// prune throws out what is over for long: incidents, then groups that have none left, silences, and hosts that nobody has
// heard of.
func (f *Fleet) prune(now int64) {
	f.pruneAt = now + pruneEvery
	old := f.oldGroups(now)
	for n := range f.shards {
		f.pruneShard(uint8(n), old, now)
	}
	for g := range old {
		f.removeGroup(g.id)
		f.ledger.mark(groupKey(g.id))
	}
	for id, s := range f.silences {
		if now-nanos(s.Until) >= keepClosed {
			delete(f.silences, id)
			f.ledger.mark(silenceKey(id))
		}
	}
}

// oldGroups are the groups to throw out: closed long ago, or of too many first those that nobody was told of, since a single
// host can make many of these, and the oldest. One with a page to be sent stays.
func (f *Fleet) oldGroups(now int64) map[*group]bool {
	var closed []*group
	old := map[*group]bool{}
	for _, g := range f.groups {
		_, due := f.due[g.id]
		switch age := now - max(g.closed, g.changed); {
		case g.closed == 0, due && age < keepUnsent, g.kind == KindSilent && g.sums.openHosts > 0: // ended by hand: no news tomorrow
		case age >= keepClosed:
			old[g] = true
		default:
			closed = append(closed, g)
		}
	}
	if over := len(closed) - mostGroups; over > 0 {
		slices.SortFunc(closed, func(a, b *group) int {
			return cmp.Or(cmp.Compare(min(len(a.pages), 1), min(len(b.pages), 1)), cmp.Compare(a.changed, b.changed), cmp.Compare(a.id, b.id))
		})
		for _, g := range closed[:over] {
			old[g] = true
		}
	}
	return old
}

func (f *Fleet) pruneShard(n uint8, old map[*group]bool, now int64) {
	var closed []*incident
	for _, h := range slices.Clone(f.shards[n]) {
		if (h.silent || h.stopped) && now-max(h.seen, h.stateAt) >= int64(f.cfg.ForgetAfter) {
			if !f.endAll(h, "the host was not heard of for long", now) {
				f.forget(h)
				continue
			}
		}
		closed = append(closed, f.pruneHost(h, old, now)...)
	}
	if over := len(closed) - mostShard; over > 0 {
		slices.SortFunc(closed, byEnd)
		f.dropEach(closed[:over])
	}
}

// dropEach throws out closed incidents, but for the last one of a host in an open group.
func (f *Fleet) dropEach(list []*incident) {
	for _, i := range list {
		if !i.keeps() {
			f.drop(i)
		}
	}
}

func byEnd(a, b *incident) int {
	return cmp.Or(cmp.Compare(a.closedAt, b.closedAt), cmp.Compare(a.id, b.id))
}

// pruneHost throws out a host's old incidents and returns the closed ones that may go if there are too many in the shard.
func (f *Fleet) pruneHost(h *host, old map[*group]bool, now int64) []*incident {
	if h.silentGroup != nil && old[h.silentGroup] {
		f.leaveSilent(h)
		f.touch(h)
	}
	h.steps = slices.DeleteFunc(h.steps, func(s step) bool { return now-s.at >= keepClosed })
	var closed []*incident
	for _, i := range slices.Clone(h.incidents) {
		if i.group != nil && old[i.group] {
			f.leave(i)
			f.touch(h)
		}
		switch {
		case !i.closed && i.known, i.keeps():
		case now-max(i.closedAt, i.at, i.taken) >= keepClosed:
			f.drop(i)
		case i.closed:
			closed = append(closed, i)
		}
	}
	if over := len(closed) - mostClosed; over > 0 {
		slices.SortFunc(closed, byEnd)
		f.dropEach(closed[:over])
		closed = closed[over:]
	}
	return closed
}

// thin throws out the oldest closed incidents of a host that has many.
func (f *Fleet) thin(h *host) {
	if len(h.incidents) < mostListed {
		return
	}
	closed := slices.DeleteFunc(slices.Clone(h.incidents), func(i *incident) bool { return !i.closed })
	slices.SortFunc(closed, byEnd)
	f.dropEach(closed[:max(len(closed)-mostClosed, 0)])
}

// keeps tells whether an incident is the last of its host in a group that is open, which counts its hosts by it.
func (i *incident) keeps() bool {
	return i.group != nil && i.group.closed == 0 && !slices.ContainsFunc(i.host.incidents, func(o *incident) bool {
		return o != i && o.group == i.group
	})
}
