package fleet

import (
	"fmt"
	"slices"

	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// mostEntries bounds a timeline, manyHosts is from how many hosts on only some of them are named in it.
	mostEntries = 200
	manyHosts   = 10
)

// note adds an entry to a timeline. A full one loses its oldest entry that is not to be kept, and never the first one.
func (f *Fleet) note(g *group, at int64, h *host, text string, key bool) {
	e := Entry{At: moment(at), Text: text, Key: key}
	if h != nil {
		e.Site, e.Host = h.site.name, h.name
	}
	f.ledger.mark(groupKey(g.id))
	if len(g.timeline) >= mostEntries {
		out := 1 + slices.IndexFunc(g.timeline[1:], func(e Entry) bool { return !e.Key })
		g.timeline = slices.Delete(g.timeline, max(out, 1), max(out, 1)+1)
	}
	g.timeline = append(g.timeline, e)
}

// milestone tells whether a count is worth an entry: each up to ten, then 20, 50, 100, 200, 500 and so on.
func milestone(n int) bool {
	if n <= manyHosts {
		return n > 0
	}
	for n%10 == 0 {
		n /= 10
	}
	return n == 1 || n == 2 || n == 5
}

// whereIs names an incident's host, with the namespace where it is not the first one.
func whereIs(i *incident) string {
	if i.netns == "" || i.netns == "init" {
		return i.host.name
	}
	return i.host.name + " (" + i.netns + ")"
}

// noteJoined tells of an incident that joined a group of so many hosts before.
func (f *Fleet) noteJoined(g *group, i *incident, before int) {
	switch n := g.sums.hosts; {
	case n <= manyHosts && !i.closed:
		what := " is filling"
		if i.critical {
			what = " refuses connections"
		}
		if !i.verified {
			what += ", which the kernel's counters do not bear out"
		}
		f.note(g, i.opened, i.host, whereIs(i)+what, len(g.timeline) == 0 || i.critical && g.sums.critical == 1)
	case n > max(manyHosts, before) && milestone(n):
		f.note(g, i.taken, nil, fmt.Sprintf("%d hosts", n), true)
	}
}

// noteStep tells of a step, where it is one of few or a round number of many.
func (f *Fleet) noteStep(g *group, i *incident, typ remediate.EventType, s step, before stepCounts) {
	now, was := g.sums.steps, g.sums.steps
	was.add(i.stepCounts(), -1)
	was.add(before, 1)
	name := whereIs(i)
	switch {
	case now.Failed > was.Failed && milestone(now.Failed):
		f.note(g, s.at, i.host, name+": a step could not be written", now.Failed == 1)
	case now.Reverted > was.Reverted && milestone(now.Reverted):
		f.note(g, s.at, i.host, fmt.Sprintf("%s: a step was undone, back to %d", name, s.from), now.Reverted == 1)
	case now.Ineffective > was.Ineffective && milestone(now.Ineffective):
		f.note(g, s.at, i.host, fmt.Sprintf("%s: the step to %d did not help", name, s.to), now.Ineffective == 1)
	case now.Effective > was.Effective && milestone(now.Effective):
		f.note(g, s.at, i.host, fmt.Sprintf("%s: the step to %d helped", name, s.to), now.Effective == 1)
	case now.Applied > was.Applied && milestone(now.Applied):
		f.note(g, s.at, i.host, fmt.Sprintf("%s: limit raised from %d to %d", name, s.from, s.to), now.Applied == 1)
	}
}
