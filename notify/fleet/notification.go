package fleet

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

// notification is what a page says: how things stand now. A group of one incident is worded as that.
func (f *Fleet) notification(g *group, v *Group, p PageState) oncall.Notification {
	n, plain := g.plain(v, p)
	if !plain {
		n = f.summary(g, v, p)
	}
	n.ID, n.Key, n.Action, n.At, n.By = p.ID, cmp.Or(p.Key, g.id), p.Action, p.DueAt, v.AckBy
	n.Severity, n.Labels = string(v.Severity), v.By
	n.Until = time.Time{}
	if p.Action == oncall.ActionResolve {
		n.Until = v.ClosedAt
	}
	if g.goesOn(&p) {
		now := n
		now.Action = oncall.ActionTrigger
		n.Title, n.Until = "Not over, told anew: "+oncall.Title(now), p.DueAt
	}
	if o := f.worsened(g); o != nil && p.Action == oncall.ActionResolve {
		now := f.view(o)
		n.Title = "Not over, worse by now: " + oncall.Title(f.notification(o, &now, PageState{Action: oncall.ActionTrigger}))
	}
	if p.Action == oncall.ActionTrigger && p.Key != "" && p.Key == g.keyNow() && g.anewWhy != "" {
		n.Facts = append(n.Facts, "told anew, since "+g.anewWhy)
	}
	n.Facts = append(n.Facts, f.facts(g, v)...)
	if f.cfg.Link != "" {
		n.Link = f.cfg.Link + "#/incident/" + g.id
	}
	return n
}

// worsened is the open group of what only filled up in a group at first and refuses connections by now; nil: there is none.
func (f *Fleet) worsened(g *group) *group {
	if g.cause != oncall.CauseFilling || len(g.members) > 0 {
		return nil
	}
	for _, id := range g.related {
		if o := f.groups[id]; o != nil && o.closed == 0 && o.cause != oncall.CauseFilling {
			return o
		}
	}
	return nil
}

// summary is the notification of a group of several incidents, or of none.
func (f *Fleet) summary(g *group, v *Group, p PageState) oncall.Notification {
	n := oncall.Notification{
		Since: v.OpenedAt, Cause: v.Cause, Hosts: v.Sample, HostsTotal: v.Hosts, Sites: v.Sites, Refused: v.Drops,
		ThrownOut: v.EarlyDrops, Did: f.did(v), Top: v.Top, Verdict: v.Verdict,
		Verified: v.Unverified == 0 || v.Unverified < v.OpenHosts,
	}
	if len(v.Sites) == 1 {
		for name := range v.Sites {
			n.Site = name
		}
	}
	s := oncall.Situation{Cause: v.Cause, Ineffective: v.Steps.Ineffective > 0, Over: p.Action == oncall.ActionResolve}
	if list := g.sample(); len(list) > 0 {
		s.Host = list[0].name
		for _, i := range list[0].incidents {
			if i.group == g {
				s.Max = i.max
			}
		}
	}
	if why := byCount(v.Steps.Refused); len(why) > 0 {
		s.Refused = why[0]
	}
	n.Next = oncall.NextFor(s)
	return n
}

// plain is the notification of a group of one incident; false: it has more, or none.
func (g *group) plain(v *Group, p PageState) (oncall.Notification, bool) {
	if g.kind != KindConntrack || v.Incidents != 1 || len(g.members) != 1 {
		return oncall.Notification{}, false
	}
	i := g.members[0]
	typ := remediate.EventIncidentUpdated
	switch p.Action {
	case oncall.ActionTrigger:
		typ = remediate.EventIncidentOpened
	case oncall.ActionResolve:
		typ = remediate.EventIncidentClosed
	}
	ev := remediate.Event{ID: p.ID, Type: typ, Time: p.DueAt, Data: i.told()}
	return oncall.FromIncident(i.host.site.name, i.host.name, ev, i.stepEvents())
}

// told is the incident as far as it is kept, in the form of its events.
func (i *incident) told() remediate.Incident {
	d := remediate.Incident{
		ID: i.id, Severity: i.severity(), Verified: i.verified, NetNS: remediate.NetNS{Name: i.netns}, OpenedAt: moment(i.opened),
		Drops: i.drops, EarlyDrops: i.early, ChainDrops: i.chains, Count: i.entries, PeakCount: i.peak, Max: i.max,
		Top: slices.Clone(i.top), Verdict: i.verdict, Outcome: i.outcome,
	}
	if i.closed {
		at := moment(i.closedAt)
		d.ClosedAt = &at
	}
	return d
}

// stepEvents are what is kept of the incident's steps, in the form of their events.
func (i *incident) stepEvents() []remediate.Event {
	var out []remediate.Event
	for _, s := range i.steps {
		d := remediate.Step{At: moment(s.at), From: s.from, To: s.to, Reason: s.reason, Outcome: s.outcome, Error: s.why}
		add := func(typ remediate.EventType) {
			out = append(out, remediate.Event{Type: typ, Time: d.At, Data: d})
		}
		if s.failed {
			add(remediate.EventStepFailed)
			continue
		}
		add(remediate.EventStepApplied)
		if s.outcome != "" {
			add(remediate.EventStepConfirmed)
		}
		if s.reverted {
			d.From, d.To = d.To, d.From
			add(remediate.EventStepReverted)
		}
	}
	for _, why := range i.noStep {
		d := remediate.Step{IncidentID: i.id, Reason: why}
		out = append(out, remediate.Event{Type: remediate.EventStepRefused, Time: moment(i.at), Data: d})
	}
	return out
}

// facts are what is to be known of a group besides what its incidents say.
func (f *Fleet) facts(g *group, v *Group) (out []string) {
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if v.Unverified > 0 && v.Hosts > 1 {
		add("%s not borne out by the kernel's counters", count(v.Unverified, "incident"))
	}
	if v.SilentHosts > 0 {
		add("%s fell silent meanwhile, so that the end there is not known", count(v.SilentHosts, "host"))
	}
	if v.Talker != "" && v.Hosts > 1 {
		add("%s holds the most entries on several of them: one attack rather than many failures", v.Talker)
	}
	for _, id := range v.Related {
		switch o := f.groups[id]; {
		case id == g.follows && o != nil && o.ackBy != "" && o.closed == 0:
			add("this is news: %s of the same kind is open since %s and was acknowledged by %s", id, moment(o.opened).Format("15:04 UTC"), o.ackBy)
		case id == g.follows:
			add("this is news: people were told of %s of the same kind before", id)
		case o != nil && g.cause == oncall.CauseFilling && o.cause != oncall.CauseFilling:
			add("see also %s: hosts of this one refuse connections by now", id)
		case o != nil && o.follows == g.id:
			add("see also %s, which began later", id)
		default:
			add("see also %s, which has the same top address", id)
		}
	}
	return out
}

// did says what ctwarden did about a group and whether it helped, one sentence each.
func (f *Fleet) did(v *Group) (out []string) {
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	s := &v.Steps
	if s.Applied > 0 {
		add("raised limits in %s: %d helped, %d did not, %d not known yet", count(s.Applied, "step"), s.Effective, s.Ineffective,
			max(s.Applied-s.Effective-s.Ineffective, 0))
	}
	if s.Reverted > 0 {
		add("undid %s", count(s.Reverted, "step"))
	}
	if s.Failed > 0 {
		add("could not write %s", count(s.Failed, "step"))
	}
	for _, why := range byCount(s.Refused) {
		add("took no step in %s: %s", count(s.Refused[why], "incident"), textOf(why))
	}
	if f.budget.until != 0 && v.Kind == KindBudget {
		add("holds automatic steps on all hosts until %s", moment(f.budget.until).Format("15:04:05 UTC"))
	}
	return out
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// byCount are reasons, the most frequent first.
func byCount(m map[remediate.Reason]int) []remediate.Reason {
	return slices.SortedFunc(maps.Keys(m), func(a, b remediate.Reason) int {
		return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b))
	})
}
