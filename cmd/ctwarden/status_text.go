package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/remediate"
)

// writeStatus prints the status for somebody who was just woken up: the table first, then what is wrong.
func writeStatus(w io.Writer, st agent.Status) error {
	var b strings.Builder
	headline(&b, st)
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	tableRows(tw, st)
	sourceRows(tw, st)
	deliveryRows(tw, st)
	if err := tw.Flush(); err != nil {
		return err
	}
	incidentLines(&b, st)
	stepLines(&b, st)
	for _, note := range st.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func headline(b *strings.Builder, st agent.Status) {
	fmt.Fprintf(b, "%s: ", orElse(st.Host, "this host"))
	if !st.Running {
		fmt.Fprintf(b, "no agent, kernel %s\n", st.Kernel)
	} else {
		fmt.Fprintf(b, "ctwarden %s, mode %s, site %s, kernel %s, up %s\n", st.Version, st.Mode, st.Site, st.Kernel,
			rough(st.At.Sub(st.StartedAt)))
	}
	if h := st.Held; h != nil {
		until := "until ctwarden unhold"
		if !h.Until.IsZero() {
			until = "until " + clock(h.Until)
		}
		fmt.Fprintf(b, "HELD %s by %s, since %s: no automatic writes%s\n", until, h.By, clock(h.Since), holdPlace(h))
	}
	fleetLines(b, st)
}

// holdPlace is where a hold was found.
func holdPlace(h *remediate.Hold) string {
	switch {
	case h.File == "":
		return ""
	case h.UntilBoot:
		return fmt.Sprintf(" (%s, in memory: the next boot ends it)", h.File)
	}
	return fmt.Sprintf(" (%s)", h.File)
}

func tableRows(w io.Writer, st agent.Status) {
	row := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	if len(st.NetNS) > 0 {
		own := st.NetNS[0]
		row("table", "%d of %d entries  %s%s", own.Count, st.Limits.Max, fill(own.Count, st.Limits.Max), peak(own))
		row("full in", "%s", timeToFull(own, st.Limits.Max))
		row("refused", "%s", counters(own))
		if others := st.NetNS[1:]; len(others) > 0 {
			row("others", "%d more namespaces, the fullest %s with %d (%s); see --namespaces", len(others), others[0].Name,
				others[0].Count, fill(others[0].Count, st.Limits.Max))
		}
	}
	if st.Limits.Max == 0 && st.Limits.Buckets == 0 {
		return
	}
	row("limit", "net.netfilter.nf_conntrack_max = %d", st.Limits.Max)
	switch {
	case st.Limits.OldMax == 0:
		row("", "net.nf_conntrack_max is not here")
	case st.Limits.OldMax != st.Limits.Max:
		row("", "net.nf_conntrack_max = %d, WHICH DIFFERS", st.Limits.OldMax)
	default:
		row("", "net.nf_conntrack_max = %d", st.Limits.OldMax)
	}
	if f := st.Foreign; f != nil {
		row("", "set from %d to %d by %s, %s: %s", f.Old, f.New, f.Who(), clock(f.At), f.Steps)
	}
	if !st.Limits.Writable {
		row("", "read-only for this process")
	}
	row("buckets", "%d (%.1f entries each at the limit)", st.Limits.Buckets, ratio(st.Limits.Max, st.Limits.Buckets))
	hashRow(w, st)
	row("memory", "%s now, %s at worst: %.2f%% of %s (%s available)", bytesText(st.Memory.TableBytes), bytesText(st.Memory.WorstBytes),
		100*ratio(st.Memory.WorstBytes, st.Memory.Total), bytesText(st.Memory.Total), bytesText(st.Memory.Available))
}

// hashRow says how the hash stands to the ceiling, where that is known.
func hashRow(w io.Writer, st agent.Status) {
	h := st.Hash
	if h == nil {
		return
	}
	if h.Reason == remediate.HashSized {
		fmt.Fprintf(w, "\t%s\n", h.Text)
		return
	}
	why := fmt.Sprintf("%s: %s", h.Reason, h.Text)
	switch {
	case h.Reason != "":
	case st.Running:
		why = "being sized"
	default:
		why = "no agent runs that would size it"
	}
	about := "about"
	if h.AtLeast {
		about = "at least"
	}
	fmt.Fprintf(w, "\t%d for the ceiling; a resize would stall packets for %s %s; %s\n", h.Wanted, about,
		rough(time.Duration(h.StallUS)*time.Microsecond), why)
}

func sourceRows(w io.Writer, st agent.Status) {
	for i, s := range st.Sources {
		name := ""
		if i == 0 {
			name = "sources"
		}
		state := "up"
		switch {
		case !s.Up:
			state = "DOWN"
		case s.Fault != "":
			state = strings.ToUpper(s.Fault)
		case !s.CaughtUp:
			state = "catching up"
		}
		where := strings.TrimSpace(string(s.Source) + " " + s.Path)
		if s.Unused {
			fmt.Fprintf(w, "%s\t%s: not used: %s\n", name, where, s.Problem)
			continue
		}
		fmt.Fprintf(w, "%s\t%s: %s, %d records, %d matches, %d lost, lag %s%s\n", name, where, state, s.Records, s.Matches, s.Lost,
			rough(time.Duration(s.LagSeconds*float64(time.Second))), lastRecord(s, st.At))
		if s.Problem != "" {
			fmt.Fprintf(w, "\t  %s\n", strings.TrimSuffix(s.Problem+"; "+s.Remedy, "; "))
		}
	}
}

// lastRecord is how long ago the last record was written.
func lastRecord(s agent.SourceStatus, now time.Time) string {
	if s.LastRecord.IsZero() {
		return ""
	}
	return fmt.Sprintf(", last %s ago", rough(max(now.Sub(s.LastRecord), 0)))
}

func deliveryRows(w io.Writer, st agent.Status) {
	if !st.Running {
		return
	}
	oncallRows(w, st)
	if !st.NATS.Configured {
		fmt.Fprintln(w, "nats\tnot configured; events stay in the local log")
		return
	}
	state := "NOT CONNECTED"
	if st.NATS.Connected {
		state = "connected to " + st.NATS.Server
	}
	if !st.NATS.Since.IsZero() {
		state += " since " + clock(st.NATS.Since)
	}
	if st.NATS.Error != "" {
		state += ": " + st.NATS.Error
	}
	fmt.Fprintf(w, "nats\t%s\n", state)
	if f := st.Fleet; f != nil && f.Rev > 0 {
		fmt.Fprintf(w, "fleet\torders heard up to revision %d\n", f.Rev)
	}
	unsaved := ""
	if n := st.Outbox.Unsaved; n > 0 {
		unsaved = fmt.Sprintf(" (%d of them NOT ON DISK)", n)
	}
	fmt.Fprintf(w, "outbox\t%d of %d events wait%s, %d dropped\n", st.Outbox.Events, st.Outbox.Max, unsaved, st.Outbox.Dropped)
}

func incidentLines(b *strings.Builder, st agent.Status) {
	if !st.Running {
		return
	}
	if len(st.Incidents) == 0 {
		fmt.Fprintf(b, "no incident is open (%d since the start)\n", st.IncidentsTotal)
		return
	}
	fmt.Fprintf(b, "\n%d open of %d incidents since the start:\n", len(st.Incidents), st.IncidentsTotal)
	for _, in := range st.Incidents {
		incidentLine(b, in)
	}
}

func incidentLine(b *strings.Builder, in remediate.Incident) {
	name, verified, paused := in.NetNS.Name, "", ""
	if !in.Verified {
		verified = ", not verified"
	}
	if in.RefusedInPause > 0 {
		paused = fmt.Sprintf(" (%d of both in the pause after somebody else's change)", in.RefusedInPause)
	}
	figures := fmt.Sprintf("%d refused, %d thrown out early%s, %d matches, peak %d of %d",
		in.Drops, in.EarlyDrops, paused, in.Matches, in.PeakCount, in.Max)
	if !in.Seen() {
		name, figures = in.NetNS.String(), fmt.Sprintf("%s, %d matches", in.Use(), in.Matches)
	}
	fmt.Fprintf(b, "  %s  %s in %s%s: %s%s\n", clock(in.OpenedAt), strings.ToUpper(string(in.Severity)),
		name, verified, figures, prefixed(", the last step was ", string(in.Outcome)))
	if len(in.Top) > 0 {
		fmt.Fprintf(b, "    most entries: %s\n", holders(in.Top))
	}
}

// holders are those who hold most of a table's entries, on one line.
func holders(top []remediate.Talker) string {
	parts := make([]string, 0, len(top))
	for _, t := range top {
		parts = append(parts, fmt.Sprintf("%s %d", t.Address, t.Entries))
	}
	return strings.Join(parts, ", ")
}

func stepLines(b *strings.Builder, st agent.Status) {
	if len(st.Steps) == 0 {
		return
	}
	fmt.Fprintf(b, "\nlast steps:\n")
	for _, s := range st.Steps {
		fmt.Fprintf(b, "  %s  %d -> %d  %s%s%s%s\n", clock(s.At), s.From, s.To, s.Reason, prefixed(", ", string(s.Outcome)),
			prefixed(", persisted in ", s.Persisted), prefixed(": ", s.Error))
	}
}

// writeNamespaces prints one line for each namespace.
func writeNamespaces(w io.Writer, st agent.Status) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "NAMESPACE\tINODE\tOWNER\tENTRIES\tFILL\tPEAK\tREFUSED\tEARLY\tNEW/s\tFULL IN")
	for _, s := range st.NetNS {
		refused, early := fmt.Sprint(s.Counters.Drop), fmt.Sprint(s.Counters.EarlyDrop)
		if s.Blind {
			refused, early = "unknown", "unknown"
		}
		fmt.Fprintf(tw, "%s\t%d\t%s\t%d\t%s\t%d\t%s\t%s\t%.0f\t%s\n", s.Name, s.Inode, orElse(s.Owner, "-"), s.Count,
			fill(s.Count, st.Limits.Max), s.Peak, refused, early, s.InsertRate, fullIn(s, "-"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, note := range st.Notes {
		if _, err := fmt.Fprintf(w, "note: %s\n", note); err != nil {
			return err
		}
	}
	return nil
}

func fill(count, limit uint64) string { return fmt.Sprintf("%.1f%%", 100*ratio(count, limit)) }

func ratio(a, b uint64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

func peak(s agent.NetNSStatus) string {
	if s.Peak <= s.Count {
		return ""
	}
	return fmt.Sprintf(", peak %d", s.Peak)
}

func timeToFull(s agent.NetNSStatus, limit uint64) string {
	if limit > 0 && s.Count >= limit {
		return "NOW: the table is full"
	}
	return fullIn(s, "it does not grow")
}

func fullIn(s agent.NetNSStatus, never string) string {
	if s.TimeToFull == nil {
		return never
	}
	if *s.TimeToFull > (100 * day).Seconds() {
		return "more than 100 days"
	}
	return fmt.Sprintf("%s at %.0f entries/s", rough(time.Duration(*s.TimeToFull*float64(time.Second))), s.InsertRate)
}

func counters(s agent.NetNSStatus) string {
	if s.Blind {
		return "unknown: the counters of this namespace cannot be read"
	}
	c := s.Counters
	text := fmt.Sprintf("%d packets, %d entries thrown out early", c.Drop, c.EarlyDrop)
	if c.ChainLength > 0 {
		text += fmt.Sprintf(", %d for long hash chains", c.ChainLength)
	}
	return text + ", since boot"
}

// rough is a duration in at most two units.
func rough(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 2*day:
		return short(d.Round(time.Minute))
	}
	return fmt.Sprintf("%d days", int(d/day))
}

func clock(t time.Time) string { return t.Local().Format(time.DateTime) }

// bytesText is a number of bytes in the unit that leaves one to four digits before the point.
func bytesText(n uint64) string {
	const step = 1 << 10
	value, unit := float64(n), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if value < step {
			break
		}
		value, unit = value/step, next
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}
