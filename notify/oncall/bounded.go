package oncall

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/ctwarden/ctwarden/remediate"
)

// bounded is a copy of the notification that is fit to be kept: its lists are cut, its texts have an end and no control
// characters, whatever a host name or a log line held.
func (n Notification) bounded() Notification {
	for _, s := range []*string{&n.Severity, &n.Title, &n.Site, &n.Cause, &n.Brief, &n.Verdict, &n.Link, &n.By} {
		*s = line(*s)
	}
	n.HostsTotal = max(n.HostsTotal, len(n.Hosts))
	n.Hosts, n.Facts = lines(n.Hosts, maxHosts), lines(n.Facts, maxLines)
	n.Did, n.Next = lines(n.Did, maxLines), lines(n.Next, maxLines)
	n.Top = slices.Clone(n.Top[:min(len(n.Top), maxLines)])
	for i, t := range n.Top {
		n.Top[i] = remediate.Talker{Address: line(t.Address), Entries: t.Entries}
	}
	labels := map[string]string{}
	for _, name := range firstOf(slices.Sorted(maps.Keys(n.Labels)), maxLabels) {
		labels[line(name)] = line(n.Labels[name])
	}
	n.Labels = labels
	sites := map[string]int{}
	for _, s := range firstOf(bySize(n.Sites), maxHosts) {
		sites[line(s)] = n.Sites[s]
	}
	n.Sites = sites
	return n
}

// line is a text in one line of at most a thousand characters.
func line(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s)
	return cut(s, maxRunes)
}

func lines(list []string, most int) []string {
	out := make([]string, 0, min(len(list), most))
	for _, s := range firstOf(list, most) {
		out = append(out, line(s))
	}
	return out
}

func firstOf(list []string, most int) []string { return list[:min(len(list), most)] }

// bySize are the sites, that with the most hosts first.
func bySize(sites map[string]int) []string {
	return slices.SortedFunc(maps.Keys(sites), func(a, b string) int {
		return cmp.Or(cmp.Compare(sites[b], sites[a]), strings.Compare(a, b))
	})
}

// cut shortens a text to at most so many characters, at a blank where there is one near.
func cut(s string, most int) string {
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	end := most - 1
	for i := end; i > end*3/4; i-- {
		if runes[i] == ' ' {
			end = i
			break
		}
	}
	return strings.TrimRight(string(runes[:end]), " ,;:") + "…"
}
