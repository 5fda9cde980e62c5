package oncall

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	shownHosts  = 12 // how many hosts a text names
	hostsInLine = 4
)

// section is one part of a text: a word, and what there is to say to it.
type section struct {
	name  string
	lines []string
}

// Text says a notification in whole: the title, then what a person needs who was asleep a minute ago, in the order in
// which they ask: where, since when, what it does to others, what ctwarden did and whether it helped, who fills the table,
// what to run next.
func Text(n Notification) string {
	var b strings.Builder
	b.WriteString(Title(n) + "\n\n")
	width := 0
	all := sections(n)
	for _, s := range all {
		width = max(width, len(s.name)+1)
	}
	for _, s := range all {
		for i, l := range s.lines {
			label := ""
			if i == 0 {
				label = s.name + ":"
			}
			b.WriteString(strings.TrimRight(fmt.Sprintf("%-*s  %s", width, label, l), " ") + "\n")
		}
	}
	return b.String()
}

// sections are the parts of the text that have something to say.
func sections(n Notification) []section {
	n = n.bounded()
	all := []section{
		{"Note", notes(n)},
		{"Where", places(n)},
		{"Since", []string{since(n)}},
		{"Over", over(n)},
		{"Taken by", one(n.By)},
		{"Effect", effects(n)},
		{"ctwarden", did(n)},
		{"Known", n.Facts},
		{"Who", who(n)},
		{"Run next", n.Next},
		{"More", one(n.Link)},
	}
	kept := all[:0]
	for _, s := range all {
		if len(s.lines) > 0 {
			kept = append(kept, s)
		}
	}
	return kept
}

func one(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func notes(n Notification) (out []string) {
	if n.Test {
		out = append(out, "This is a test. Nothing is wrong; somebody asked for this page to see that it arrives.")
	}
	if !n.Verified && !n.Test && n.Cause != CauseSilent && n.Cause != CauseBudget {
		out = append(out, "Not verified: it rests on the kernel's log alone, no counter bears it out.")
	}
	return out
}

// places are the sites with their number of hosts, and the names of some.
func places(n Notification) []string {
	if n.HostsTotal == 0 && len(n.Sites) == 0 {
		return one(n.Site)
	}
	if n.HostsTotal <= 1 && len(n.Hosts) == 1 {
		return []string{n.Hosts[0] + at(n.Site)}
	}
	head := count(uint64(n.HostsTotal), "host") + at(n.Site)
	if n.Site == "" && len(n.Sites) > 0 {
		var parts []string
		for _, s := range firstOf(bySize(n.Sites), 10) {
			parts = append(parts, fmt.Sprintf("%d at %s", n.Sites[s], s))
		}
		if more := len(n.Sites) - len(parts); more > 0 {
			parts = append(parts, "and more at "+count(uint64(more), "other site"))
		}
		head += ": " + strings.Join(parts, ", ")
	}
	return append([]string{head}, names(n)...)
}

// names are some of the hosts, a few a line.
func names(n Notification) (out []string) {
	shown := firstOf(n.Hosts, shownHosts)
	for chunk := range slices.Chunk(shown, hostsInLine) {
		out = append(out, strings.Join(chunk, ", "))
	}
	if more := n.HostsTotal - len(shown); more > 0 && len(out) > 0 {
		out[len(out)-1] += fmt.Sprintf(" and %d more", more)
	}
	return out
}

func at(site string) string {
	if site == "" {
		return ""
	}
	return " at " + site
}

func since(n Notification) string {
	s := stamp(n.Since)
	if n.Action != ActionResolve && !n.At.Before(n.Since) {
		s += ", " + lasted(n.At.Sub(n.Since)) + " before this message"
	}
	return s
}

func over(n Notification) []string {
	if n.Action != ActionResolve {
		return nil
	}
	return []string{stamp(n.Until) + ", after " + lasted(n.Until.Sub(n.Since))}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func effects(n Notification) (out []string) {
	if n.Refused > 0 {
		out = append(out, count(n.Refused, "new connection")+" refused")
	}
	if n.ThrownOut > 0 {
		out = append(out, count(n.ThrownOut, "connection")+" thrown out to make room for others")
	}
	if len(out) == 0 && (n.Cause == CauseFull || n.Cause == CauseFilling) && n.Verified {
		out = append(out, "no connection refused so far")
		if n.Action == ActionResolve {
			out[0] = "no connection was refused"
		}
	}
	return out
}

func did(n Notification) []string {
	if len(n.Did) == 0 && (n.Cause == CauseFull || n.Cause == CauseFilling) {
		return []string{"has not changed the limit"}
	}
	return n.Did
}

func who(n Notification) (out []string) {
	for _, t := range n.Top[:min(len(n.Top), 5)] {
		out = append(out, fmt.Sprintf("%s holds %d entries", t.Address, t.Entries))
	}
	if n.Verdict != "" {
		out = append(out, n.Verdict)
	}
	return out
}
