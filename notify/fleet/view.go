package fleet

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"github.com/ctwarden/ctwarden/remediate"
)

// Groups are all groups that are open or were closed within the last day, the open ones first, then the latest first. One
// of which only members were loaded so far is not among them. The
// engine calls it as often as the page needs it: it costs about as much as there are groups and addresses that lead in those
// that are open, not as there are hosts.
func (f *Fleet) Groups() []Group {
	out := make([]Group, 0, len(f.groups))
	for _, g := range f.groups {
		if !g.provisional {
			out = append(out, f.view(g))
		}
	}
	slices.SortFunc(out, func(a, b Group) int {
		if open := a.ClosedAt.IsZero(); open != b.ClosedAt.IsZero() {
			if open {
				return -1
			}
			return 1
		}
		return cmp.Or(b.OpenedAt.Compare(a.OpenedAt), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// Group is the group of that ID.
func (f *Fleet) Group(id string) (Group, bool) {
	g := f.groups[id]
	if g == nil {
		return Group{}, false
	}
	return f.view(g), true
}

// view is a group as it is shown.
func (f *Fleet) view(g *group) Group {
	v := f.outline(g)
	if g.frozen == nil {
		v.Sample = namesOf(g.sample())
	}
	return v
}

// outline is a group as it is shown, but for the sample where it is open.
func (f *Fleet) outline(g *group) Group {
	v := Group{
		ID: g.id, Kind: g.kind, Cause: g.cause, By: maps.Clone(g.by), Talker: g.talker, Severity: g.severity(),
		OpenedAt: moment(g.opened), Historical: g.historical,
	}
	if g.frozen != nil {
		v = *g.frozen
		v.By, v.Sites, v.Steps.Refused = maps.Clone(v.By), maps.Clone(v.Sites), maps.Clone(v.Steps.Refused)
		v.Sample, v.Top = slices.Clone(v.Sample), slices.Clone(v.Top)
	} else {
		f.sumUp(g, &v)
	}
	v.ChangedAt, v.ClosedAt, v.Silenced = moment(g.changed), moment(g.closed), g.silenced
	v.AckBy, v.AckAt, v.Escalated, v.MergedInto = g.ackBy, moment(g.ackAt), g.escalated, g.mergedInto
	v.Follows, v.Anew = g.follows, g.anew
	v.Related, v.Pages, v.Timeline = slices.Clone(g.related), slices.Clone(g.pages), slices.Clone(g.timeline)
	return v
}

// sumUp fills in what the members come to.
func (f *Fleet) sumUp(g *group, v *Group) {
	s := &g.sums
	v.Hosts, v.OpenHosts, v.Incidents = s.hosts, s.openHosts, s.incidents+g.base.Incidents
	v.Unverified, v.Drops, v.EarlyDrops = s.unverified, s.drops+g.base.Drops, s.early+g.base.Early
	if g.kind == KindConntrack {
		v.SilentHosts = s.silent
	}
	v.Sites = make(map[string]int, len(s.sites))
	for at, n := range s.sites {
		v.Sites[at.name] = n
	}
	fewSites(v.Sites)
	v.Steps = g.stepSummary()
	if v.Top = s.top(); s.openHosts == 1 && s.open > 0 {
		i := g.worst()
		v.Top, v.Verdict = slices.Clone(i.top), i.verdict
	}
}

// worst is the open incident that lost the most connections; there must be one, and no other host may have any.
func (g *group) worst() *incident {
	var worst *incident
	for _, i := range g.sample()[0].incidents {
		if i.group != g || i.closed {
			continue
		}
		if worst == nil || i.lost() > worst.lost() || i.lost() == worst.lost() && i.id < worst.id {
			worst = i
		}
	}
	return worst
}

// All are the known hosts, in an order that does not change while none comes or goes. The fleet must not change meanwhile.
func (f *Fleet) All() iter.Seq[Host] {
	return func(yield func(Host) bool) {
		for _, list := range f.shards {
			for _, h := range list {
				if !yield(h.view()) {
					return
				}
			}
		}
	}
}

// Altered calls take for every known host whose severity or state may be another than at the last call; take must not change
// the fleet. Labels change with [Fleet.Configure] alone, which is not told here.
func (f *Fleet) Altered(take func(Host)) {
	for _, h := range f.altered {
		if h.altered = false; f.hosts[hostKey{h.site.name, h.name}] == h {
			take(h.view())
		}
	}
	f.altered = f.altered[:0]
}

// Hosts are the known hosts. Labels are shared between them; the rest is one allocation.
func (f *Fleet) Hosts() []Host {
	out := make([]Host, 0, len(f.hosts))
	for h := range f.All() {
		out = append(out, h)
	}
	return out
}

// Host is the host of that name with its incidents, the open ones first, then the latest first.
func (f *Fleet) Host(siteName, name string) (Host, []HostIncident, bool) {
	h := f.hosts[hostKey{siteName, name}]
	if h == nil {
		return Host{}, nil, false
	}
	list := make([]HostIncident, 0, len(h.incidents))
	for _, i := range h.incidents {
		if i.known {
			list = append(list, i.view())
		}
	}
	slices.SortStableFunc(list, func(a, b HostIncident) int {
		if open := a.ClosedAt.IsZero(); open != b.ClosedAt.IsZero() {
			if open {
				return -1
			}
			return 1
		}
		return b.OpenedAt.Compare(a.OpenedAt)
	})
	return h.view(), list, true
}

func (h *host) view() Host {
	v := Host{
		Site: h.site.name, Host: h.name, Version: h.version, Labels: h.class.labels, State: h.state(), SeenAt: moment(h.seen),
		StateAt: moment(h.stateAt), Fill: h.fill, Count: h.count, Max: h.max, Mode: remediate.Mode(h.mode), Folded: h.folded,
	}
	for _, i := range h.incidents {
		if !i.live() {
			continue
		}
		if v.Open++; v.Severity == "" || i.critical && v.Severity != remediate.SeverityCritical {
			v.Severity = i.severity()
			if i.group != nil {
				v.Group = i.group.id
			}
		}
	}
	return v
}

func (i *incident) view() HostIncident {
	v := HostIncident{
		ID: i.id, NetNS: i.netns, Severity: i.severity(), Cause: i.cause, Verified: i.verified, Historical: i.historical,
		OpenedAt: moment(i.opened), ClosedAt: moment(i.closedAt), Drops: i.drops, EarlyDrops: i.early, ChainDrops: i.chains,
		Count: i.entries, Peak: i.peak, Max: i.max, Top: slices.Clone(i.top), Verdict: i.verdict, Outcome: i.outcome,
		Ended: i.ended, NoStep: slices.Clone(i.noStep),
	}
	if i.group != nil {
		v.Group = i.group.id
	}
	for _, s := range i.steps {
		v.Steps = append(v.Steps, HostStep{
			At: moment(s.at), From: s.from, To: s.to, Reason: s.reason, Outcome: s.outcome, Failed: s.failed, Reverted: s.reverted,
		})
	}
	return v
}
