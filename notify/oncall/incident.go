package oncall

import (
	"fmt"
	"strconv"

	"github.com/ctwarden/ctwarden/remediate"
)

// FromIncident is what an event of one host's incident tells a person: opened is a trigger, updated an update, closed a
// resolve. Its only label is the site. steps are the step events of the same incident so far, in their order. The event's ID becomes the notification's,
// the incident's its key; who folds several incidents into one trouble sets both anew.
//
// It is false for any other event, and for an incident found in old records, which nobody is told.
func FromIncident(site, host string, ev remediate.Event, steps []remediate.Event) (n Notification, ok bool) {
	i, isIncident := ev.Data.(remediate.Incident)
	if !isIncident || i.Historical {
		return Notification{}, false
	}
	n = Notification{
		ID: ev.ID, Key: i.ID, Severity: string(i.Severity), At: ev.Time, Since: i.OpenedAt, Site: site, Labels: map[string]string{"site": site},
		Cause: CauseOf(i), Hosts: []string{host}, HostsTotal: 1, Refused: i.Drops + i.ChainDrops, ThrownOut: i.EarlyDrops,
		Facts: facts(i), Did: Did(steps), Brief: Brief(steps), Top: i.Top, Entries: i.Count, Verdict: i.Verdict, Verified: i.Verified,
	}
	switch ev.Type {
	case remediate.EventIncidentOpened:
		n.Action = ActionTrigger
	case remediate.EventIncidentUpdated:
		n.Action = ActionUpdate
	case remediate.EventIncidentClosed:
		n.Action, n.Until = ActionResolve, ev.Time
		if i.ClosedAt != nil {
			n.Until = *i.ClosedAt
		}
	default:
		return Notification{}, false
	}
	n.Next = NextFor(Situation{
		Cause: n.Cause, Host: host, Max: i.Max, Refused: LastRefusal(steps),
		Ineffective: i.Outcome == remediate.OutcomeIneffective, Over: n.Action == ActionResolve,
	})
	return n, true
}

// CauseOf is what an incident is about.
func CauseOf(i remediate.Incident) string {
	switch {
	case i.Severity != remediate.SeverityCritical:
		return CauseFilling
	case i.ChainDrops > 0 && i.Drops+i.EarlyDrops == 0:
		return CauseChains
	}
	return CauseFull
}

// LastRefusal is why no step was taken after the last one that was; empty: nothing kept ctwarden from it.
func LastRefusal(steps []remediate.Event) (last remediate.Reason) {
	for _, ev := range steps {
		s, ok := ev.Data.(remediate.Step)
		switch {
		case ok && ev.Type == remediate.EventStepRefused:
			last = s.Reason
		case ok && ev.Type == remediate.EventStepApplied:
			last = ""
		}
	}
	return last
}

// facts are the figures of one host's table.
func facts(i remediate.Incident) (out []string) {
	if i.Max > 0 {
		out = append(out, fmt.Sprintf("%d of %d entries in use (%d %%), %d at the peak", i.Count, i.Max, i.Count*100/i.Max, i.PeakCount))
	}
	if i.TimeToFull != nil && i.Severity != remediate.SeverityCritical && i.ClosedAt == nil {
		out = append(out, fmt.Sprintf("at this growth it is full in %.0f s", *i.TimeToFull))
	}
	if name := namespace(i.NetNS); name != "" {
		out = append(out, "in the network namespace "+name)
	}
	if len(i.LimitHitBy) > 1 {
		out = append(out, fmt.Sprintf("%d namespaces are at the one limit of the host", len(i.LimitHitBy)))
	}
	if i.ChainDrops > 0 {
		out = append(out, fmt.Sprintf("%d of the refused fell on hash chains too long: there are too few buckets (%d)", i.ChainDrops, i.Buckets))
	}
	if i.RefusedInPause > 0 {
		out = append(out, fmt.Sprintf("%d of the refused fell while steps paused after somebody else's change", i.RefusedInPause))
	}
	return out
}

// namespace names one that is not the host's own.
func namespace(n remediate.NetNS) string {
	switch {
	case n.Init || n.Name == "init" || n.Name == "" && n.Inode == 0:
		return ""
	case n.Name == "":
		return strconv.FormatUint(n.Inode, 10)
	case n.Inode == 0: // a hub keeps the name alone
		return n.Name
	}
	return fmt.Sprintf("%s (%d)", n.Name, n.Inode)
}
