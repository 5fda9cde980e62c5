package notify

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/ctwarden/ctwarden/remediate"
)

// Line says an event in one line for a person: local time, host, type and what matters. It never holds a control
// character, whatever a log line or a host name held.
func Line(r Received) string { return line(r, time.Local) }

func line(r Received, zone *time.Location) string {
	head := fmt.Sprintf("%s %s %-17s ", r.Event.Time.In(zone).Format(time.TimeOnly), r.Host, r.Event.Type)
	return printable(head + Summary(r.Event))
}

// Summary is the part of [Line] behind the type.
func Summary(ev remediate.Event) string {
	switch d := ev.Data.(type) {
	case remediate.Incident:
		return printable(incidentText(ev.Type, d))
	case remediate.Step:
		return printable(stepText(ev.Type, d))
	case remediate.Unverified:
		return printable(unverifiedText(d))
	case remediate.SourceState:
		return printable(sourceText(d))
	case remediate.LimitChange:
		return printable(fmt.Sprintf("%d → %d by %s", d.Old, d.New, d.Who()))
	case remediate.AgentState:
		return printable(agentText(d))
	}
	return "(a kind of event that this version does not know)"
}

func incidentText(t remediate.EventType, d remediate.Incident) string {
	if d.Historical {
		return pastText(d)
	}
	parts := []string{fmt.Sprintf("%s in %s: %s", d.Severity, d.NetNS, d.Use())}
	if t == remediate.EventIncidentClosed && d.ClosedAt != nil {
		lasted := d.ClosedAt.Sub(d.OpenedAt).Round(time.Second)
		parts[0] = fmt.Sprintf("%s in %s, over after %s: %s", d.Severity, d.NetNS, lasted, d.Use())
		if d.Seen() {
			parts[0] += fmt.Sprintf(", %d at the peak", d.PeakCount)
		}
	}
	if d.Seen() {
		parts = append(parts, fmt.Sprintf("%d refused", d.Drops))
	}
	if d.EarlyDrops > 0 {
		parts = append(parts, fmt.Sprintf("%d thrown out early", d.EarlyDrops))
	}
	if d.RefusedInPause > 0 {
		parts = append(parts, fmt.Sprintf("%d of these in the pause after somebody else's change", d.RefusedInPause))
	}
	if d.ChainDrops > 0 {
		parts = append(parts, fmt.Sprintf("%d refused on long hash chains (raise nf_conntrack_buckets)", d.ChainDrops))
	}
	if d.Matches > 0 {
		parts = append(parts, plural(d.Matches, "line"))
	}
	if d.TimeToFull != nil {
		parts = append(parts, fmt.Sprintf("full in %.0f s", *d.TimeToFull))
	}
	if len(d.Top) > 0 {
		parts = append(parts, fmt.Sprintf("%s holds %d", d.Top[0].Address, d.Top[0].Entries))
	}
	if d.Outcome != "" {
		parts = append(parts, "last step "+string(d.Outcome))
	}
	if len(d.LimitHitBy) > 1 {
		parts = append(parts, fmt.Sprintf("%d namespaces at the limit", len(d.LimitHitBy)))
	}
	if !d.Verified {
		parts = append(parts, "not verified")
	}
	return joined(parts, d.Verdict)
}

// pastText tells of an incident of which only the records are known.
func pastText(d remediate.Incident) string {
	s := fmt.Sprintf("%s of old records in %s, from %s", plural(d.Matches, "line"), d.NetNS,
		d.OpenedAt.UTC().Format("2006-01-02 15:04:05Z"))
	if d.ClosedAt != nil {
		s += fmt.Sprintf(", quiet after %s", d.ClosedAt.Sub(d.OpenedAt).Round(time.Second))
	}
	return s
}

func stepText(t remediate.EventType, d remediate.Step) string {
	s := fmt.Sprintf("%d → %d", d.From, d.To)
	switch t {
	case remediate.EventStepApplied:
		s += fmt.Sprintf(" (%s) in %d µs, %s", d.Reason, d.TookUS, keysText(d))
	case remediate.EventStepConfirmed:
		s += " " + or(string(d.Outcome), "outcome unknown")
		if d.Persisted != "" {
			s += ", persisted in " + d.Persisted
		} else if d.Error == "" {
			s += ", not persisted"
		}
	case remediate.EventStepRefused:
		if d.To == 0 {
			s = fmt.Sprintf("no step from %d", d.From)
		} else {
			s += " not done"
		}
		s += fmt.Sprintf(": %s (%s)", d.Reason, d.Reason.Text())
	case remediate.EventStepFailed:
		s += fmt.Sprintf(" (%s) failed", d.Reason)
	case remediate.EventStepReverted:
		s += fmt.Sprintf(" undone (%s)", d.Reason)
	}
	if !d.NetNS.Init && d.NetNS.Name != "" && d.NetNS.Name != "init" {
		s += ", for " + d.NetNS.String()
	}
	if d.Error != "" {
		s += ": " + d.Error
	}
	return s
}

// keysText tells what the names of the limit were read back as. Other settings, such as the hash, are left out where
// all is well.
func keysText(d remediate.Step) string {
	same := 0
	for _, v := range d.Keys {
		if v == d.To {
			same++
		}
	}
	switch same {
	case 0:
		all := make([]string, 0, len(d.Keys))
		for _, k := range slices.Sorted(maps.Keys(d.Keys)) {
			all = append(all, k+"="+strconv.FormatUint(d.Keys[k], 10))
		}
		return "read back " + or(strings.Join(all, " "), "nothing")
	case 1:
		return "one key read back"
	}
	return "both keys read back"
}

func unverifiedText(d remediate.Unverified) string {
	return fmt.Sprintf("%s not borne out by the kernel's counters, first %q", plural(d.Count, "line"), d.Text)
}

func sourceText(d remediate.SourceState) string {
	name := string(d.Source)
	if d.Path != "" {
		name += " " + d.Path
	}
	parts := []string{name + ": " + or(d.Problem, "reading again")}
	if d.Lost > 0 {
		parts = append(parts, fmt.Sprintf("%d records lost", d.Lost))
	}
	return joined(parts, d.Remedy)
}

func agentText(d remediate.AgentState) string {
	names := make([]string, len(d.Sources))
	for i, s := range d.Sources {
		names[i] = string(s)
	}
	parts := []string{fmt.Sprintf("version %s on kernel %s, mode %s, reading %s", d.Version, d.Kernel, d.Mode,
		or(strings.Join(names, ", "), "nothing"))}
	return joined(append(parts, d.Notes...), "")
}

func joined(parts []string, last string) string {
	s := strings.Join(parts, ", ")
	if last != "" {
		s += "; " + last
	}
	return s
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// printable replaces what would move a terminal's cursor or end the line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
