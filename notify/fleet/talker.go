package fleet

import (
	"fmt"
	"slices"

	"github.com/ctwarden/ctwarden/notify/oncall"
)

// setLead indexes an open incident under the address that leads on it.
func (f *Fleet) setLead(i *incident, who string) {
	if i.lead == who {
		return
	}
	if list := f.leads[i.lead]; i.lead != "" {
		last := list[len(list)-1]
		list[i.leadPos], last.leadPos = last, i.leadPos
		list[len(list)-1] = nil
		if list = list[:len(list)-1]; len(list) == 0 {
			delete(f.leads, i.lead)
		} else {
			f.leads[i.lead] = list
		}
	}
	i.lead = who
	if who != "" {
		i.leadPos = len(f.leads[who])
		f.leads[who] = append(f.leads[who], i)
	}
}

// lead looks whether an address makes several hosts one attack, after an incident came or changed.
func (f *Fleet) lead(i *incident, now int64) {
	who := ""
	if i.live() {
		who = i.talkerKey()
	}
	if who == i.lead {
		return
	}
	f.setLead(i, who)
	if who == "" || i.group == nil || i.group.talkerKey == who {
		return
	}
	if t := f.byTalker[who]; t != nil && t.closed == 0 && t.isOpen() {
		if movable(i) && f.past(t, i) {
			f.beginWave(who, t, i, now)
			return
		}
		f.gather(t, []*incident{i}, now)
		return
	}
	list := f.leads[who]
	if len(i.group.pages) > 0 && len(list) != f.cfg.TalkerHosts || !f.attack(list) {
		return
	}
	if g := f.adopt(who, list); g != nil {
		f.setTalker(g, who)
		f.byTalker[who] = g
		f.note(g, now, nil, g.talker+" holds the most entries on several of its hosts", true)
		f.news(g, now)
		f.gather(g, slices.Clone(list), now)
		return
	}
	f.beginTalker(who, list, now)
}

// attack tells whether the incidents are on enough distinct hosts.
func (f *Fleet) attack(list []*incident) bool {
	if len(list) < f.cfg.TalkerHosts {
		return false
	}
	hosts := make([]*host, 0, f.cfg.TalkerHosts)
	for _, i := range list {
		if !slices.Contains(hosts, i.host) {
			if hosts = append(hosts, i.host); len(hosts) >= f.cfg.TalkerHosts {
				return true
			}
		}
	}
	return false
}

// adopt finds a group that people know of and that has enough of the hosts itself: it is that attack. Nil: there is none.
func (f *Fleet) adopt(who string, list []*incident) *group {
	count := map[*group]int{}
	for _, i := range list {
		if g := i.group; g != nil && len(g.pages) > 0 && g.talker == "" {
			count[g]++
		}
	}
	var best *group
	for g, n := range count {
		mine := slices.DeleteFunc(slices.Clone(list), func(i *incident) bool { return i.group != g })
		if n < f.cfg.TalkerHosts || !f.attack(mine) {
			continue
		}
		if best == nil || g.begun < best.begun || g.begun == best.begun && g.id < best.id {
			best = g
		}
	}
	return best
}

// beginTalker makes a group of an address, if there is an incident that nobody was told of.
func (f *Fleet) beginTalker(who string, list []*incident, now int64) {
	first := (*incident)(nil)
	for _, i := range list {
		if movable(i) && (first == nil || i.taken < first.taken || i.taken == first.taken && i.id < first.id) {
			first = i
		}
	}
	if first == nil {
		return
	}
	t := f.talkerGroup(who, first, now)
	f.note(t, now, nil, fmt.Sprintf("%s holds the most entries on %d hosts: one attack", t.talker, f.cfg.TalkerHosts), true)
	f.gather(t, slices.Clone(list), now)
}

// talkerGroup is the group of an address that an incident begins.
func (f *Fleet) talkerGroup(who string, first *incident, now int64) *group {
	id := f.freeID(letterTalker, first.host.site.name, first.host.name, first.id, who)
	t := f.groups[id]
	if t == nil {
		t = f.begin(id, KindConntrack, first.cause, now)
		t.opened, t.begun = first.opened, first.group.begun
	}
	f.setTalker(t, who)
	f.byTalker[who] = t
	return t
}

// beginWave makes another group of an address, of an incident that is news to those who were told of the one that there is.
func (f *Fleet) beginWave(who string, before *group, i *incident, now int64) {
	t := f.talkerGroup(who, i, now)
	if t == before {
		return
	}
	f.follow(t, before, now)
	f.gather(t, []*incident{i}, now)
}

// handOver has another open group of its address take that one's incidents, now that it is over: the latest, as after a crash.
func (f *Fleet) handOver(g *group) {
	if g.talkerKey == "" || f.byTalker[g.talkerKey] != g {
		return
	}
	delete(f.byTalker, g.talkerKey)
	for _, o := range f.groups {
		if o.closed == 0 && o.talkerKey == g.talkerKey {
			f.indexTalker(o)
		}
	}
}

// movable tells whether nobody was told of the group that an incident is in.
func movable(i *incident) bool {
	return i.group != nil && len(i.group.pages) == 0 && i.group.talker == ""
}

// gather moves incidents of an address into its group, unless people know them from another one: then the two refer to each
// other. What is left of a group and may well belong to the same attack goes along.
func (f *Fleet) gather(t *group, list []*incident, now int64) {
	var from []*group
	for _, i := range list {
		switch g := i.group; {
		case g == t, g == nil:
		case movable(i) && f.past(t, i): // a crash came between it and its group
		case movable(i):
			if !slices.Contains(from, g) {
				from = append(from, g)
			}
			f.move(t, i, now)
		case len(g.pages) > 0:
			f.relate(t, g, now)
		}
	}
	for _, g := range from {
		f.merge(t, g, now)
	}
}

func (f *Fleet) move(t *group, i *incident, now int64) {
	f.join(t, i, now)
	f.touch(i.host)
}

// merge ends a group whose incidents moved away, if nothing is left that has another cause. What is left and says nothing of
// who fills the table goes along.
func (f *Fleet) merge(t, g *group, now int64) {
	if g.sums.listed > 0 {
		g.lower()
		f.news(g, now)
		return
	}
	for len(g.members) > 0 {
		f.move(t, g.members[len(g.members)-1], now)
	}
	if before := f.groups[g.follows]; before != nil && t.follows == "" && before != t && before.closed == 0 {
		f.follow(t, before, now)
	}
	g.mergedInto = t.id
	f.note(g, now, nil, "its incidents moved to the group of "+t.talker, true)
	f.finish(g, now)
}

// lower has a group of which nobody was told yet be no worse than what is left of it.
func (g *group) lower() {
	if g.critical = g.sums.critical > 0; !g.critical && g.cause == oncall.CauseFull {
		g.cause = oncall.CauseFilling
	}
}

// relate makes two groups refer to each other. A crash may have left one side of it.
func (f *Fleet) relate(t, g *group, now int64) {
	f.refer(g, t, t.talker+" holds the most entries here too: see group "+t.id, now)
	f.refer(t, g, t.talker+" also leads in group "+g.id+", which people were told of before", now)
}

func (f *Fleet) refer(g, to *group, text string, now int64) {
	if slices.Contains(g.related, to.id) || len(g.related) >= mostRelated {
		return
	}
	g.related = append(g.related, to.id)
	f.note(g, now, nil, text, true)
	f.news(g, now)
}

// mostRelated bounds the references of a group.
const mostRelated = 20
