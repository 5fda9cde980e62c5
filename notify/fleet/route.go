package fleet

import (
	"slices"

	"github.com/ctwarden/ctwarden/notify/oncall"
)

// target is a sender to be told, and the route that says so.
type target struct{ to, route string }

// targets are the senders that are to be told of a group now, in the order of the routes. It has the group looked at again
// when that may change by itself.
func (f *Fleet) targets(g *group, now int64) []target {
	var out []target
	for n, r := range f.cfg.Routes {
		if !f.routed(g, n, now) {
			continue
		}
		for _, to := range r.To {
			out = addTarget(out, target{to, r.Name})
		}
		out = f.escalate(g, &f.cfg.Routes[n], out, now)
	}
	return out
}

func addTarget(list []target, t target) []target {
	if slices.ContainsFunc(list, func(o target) bool { return o.to == t.to }) {
		return list
	}
	return append(list, t)
}

// routed tells whether a route counts for any of a group's open hosts: it matches, is active, and no route before it ended
// the search for that host.
func (f *Fleet) routed(g *group, n int, now int64) bool {
	if len(g.sums.classes) == 0 {
		return f.reaches(g, nil, n, now)
	}
	found := false
	for c := range g.sums.classes {
		found = f.reaches(g, c, n, now) || found // all of them, for the times at which to look again
	}
	return found
}

// reaches tells whether route n counts for hosts of a class.
func (f *Fleet) reaches(g *group, c *class, n int, now int64) bool {
	for k := range f.cfg.Routes[:n+1] {
		r := &f.cfg.Routes[k]
		if !r.Match.takes(g, c) {
			continue
		}
		active, change := activeAt(r.Active, now)
		g.wake(change)
		switch {
		case k == n:
			return active
		case active && !r.Continue:
			return false
		}
	}
	return false
}

// takes tells whether a route matches a group as far as one class of its hosts is concerned; nil: it has no hosts.
func (m *Match) takes(g *group, c *class) bool {
	if m.Severity != "" && m.Severity != g.severity() || m.Kind != "" && m.Kind != g.kind {
		return false
	}
	if c == nil {
		return m.Site == "" && len(m.Labels) == 0
	}
	return (m.Site == "" || m.Site == c.site.name) && hasLabels(c.labels, m.Labels)
}

// escalate adds those who are to be told because nobody has acknowledged the group since the route's first page.
func (f *Fleet) escalate(g *group, r *Route, out []target, now int64) []target {
	since := g.toldSince(r)
	if since == 0 || g.ackBy != "" {
		return out
	}
	for n, stage := range r.Escalate {
		at := since + int64(stage.After)
		if now < at && n >= g.push && !g.lost(r, n) {
			g.wake(at)
			continue
		}
		if n+1 > g.escalated {
			g.escalated = n + 1
			f.note(g, now, nil, "not acknowledged: escalated", true)
		}
		for _, to := range stage.To {
			out = addTarget(out, target{to, r.Name})
		}
	}
	return out
}

// toldSince is when a route's senders were first told under the last key, or were to be; 0: not yet.
func (g *group) toldSince(r *Route) int64 {
	var first int64
	for i := range g.pages {
		p := &g.pages[i]
		if p.Action != oncall.ActionTrigger || !slices.Contains(r.To, p.To) || g.lastTrigger(p.To).Key != p.Key {
			continue
		}
		if first == 0 || nanos(p.DueAt) < first {
			first = nanos(p.DueAt)
		}
	}
	return first
}

// resolves tells whether those whom a route told are told of the end. A route that is no longer configured does so.
func (f *Fleet) resolves(name string) bool {
	for i := range f.cfg.Routes {
		if f.cfg.Routes[i].Name == name {
			return f.cfg.Routes[i].Resolve
		}
	}
	return true
}
