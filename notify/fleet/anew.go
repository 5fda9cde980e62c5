package fleet

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ctwarden/ctwarden/notify/oncall"
)

// A sender takes pages of one key for one trouble. PagerDuty wakes nobody by a second trigger of a key, acknowledged or not,
// and Alertmanager tells nobody of an alert that it has told of. So a group that got worse in a way that must wake people is
// told anew: under another key, while the older one ends with the word that it goes on. The first key of a group is its ID.

// keyNow is the key of the group's last wave of pages, as [PageState] has it.
func (g *group) keyNow() string {
	if g.anew == 0 {
		return ""
	}
	return g.id + "-" + strconv.Itoa(g.anew+1)
}

// wave is the number of a key in a page's ID; empty for the first.
func wave(key string) string {
	_, n, _ := strings.Cut(key, "-")
	return n
}

// lastTrigger is the last first page of a sender; nil: it was not to be told.
func (g *group) lastTrigger(to string) *PageState {
	for k := len(g.pages) - 1; k >= 0; k-- {
		if p := &g.pages[k]; p.Action == oncall.ActionTrigger && p.To == to {
			return p
		}
	}
	return nil
}

// wakes says why those who were told must be woken anew; empty: they need not be. For growth there is a reason once in
// UpdateEvery: until then an update will do, since somebody was woken a short while ago.
func (f *Fleet) wakes(g *group, told []PageState, now int64) (why string, grew bool) {
	switch {
	case len(told) == 0:
	case g.critical && !g.woken.Critical:
		return "it turned critical", false
	case g.sums.hosts >= 10*max(g.woken.Hosts, 1):
		if due := g.woken.At + int64(f.cfg.UpdateEvery); now < due {
			g.wake(due)
			return "", false
		}
		return fmt.Sprintf("it grew from %s to %d", count(g.woken.Hosts, "host"), g.sums.hosts), true
	}
	return "", false
}

// rouse wakes people: by the next stage of escalation where it grew, nobody has acknowledged it and there is one; else those
// who were told are told anew. It returns those of them who hear of it by an update, if at all.
func (f *Fleet) rouse(g *group, told []PageState, why string, grew bool, now int64) (rest []PageState) {
	g.woken = g.standing(now)
	if stage := max(g.escalated, g.push); grew && g.ackBy == "" && f.hasStage(g, stage, now) {
		g.push = stage + 1
		f.note(g, now, nil, why+": the next stage is told before its time", true)
		return told
	}
	if g.ackBy != "" {
		f.note(g, now, nil, why+": the acknowledgement by "+g.ackBy+" counts no longer", true)
		g.ackBy, g.ackAt = "", 0
	}
	g.anew++
	g.anewWhy = why
	targets := f.targets(g, now)
	for _, p := range told {
		if !slices.ContainsFunc(targets, func(t target) bool { return t.to == p.To }) {
			rest = append(rest, p)
			continue
		}
		f.addPage(g, PageState{Action: oncall.ActionTrigger, To: p.To, Route: p.Route, Key: g.keyNow()}, now)
		if f.resolves(p.Route) {
			f.addPage(g, PageState{Action: oncall.ActionResolve, To: p.To, Route: p.Route, Key: p.Key}, now)
		}
	}
	if len(rest) < len(told) {
		f.note(g, now, nil, why+": told anew", true)
		g.markTold(now)
	}
	return rest
}

// hasStage tells whether a route of the group has a stage of that number.
func (f *Fleet) hasStage(g *group, n int, now int64) bool {
	for k := range f.cfg.Routes {
		if len(f.cfg.Routes[k].Escalate) > n && f.routed(g, k, now) {
			return true
		}
	}
	return false
}

// goesOn tells whether a page ends a key whose trouble goes on under another.
func (g *group) goesOn(p *PageState) bool {
	if p.Action != oncall.ActionResolve {
		return false
	}
	last := g.lastTrigger(p.To)
	return last != nil && last.Key != p.Key
}
