package oncall

import (
	"fmt"
	"strconv"
	"time"
)

const (
	// maxTitle is the length of a title: that of a text message.
	maxTitle = 160
	// maxHostInTitle is how much of a host's name a title holds.
	maxHostInTitle = 60
	// maxBrief is how much of what ctwarden did a title holds.
	maxBrief  = 60
	topSource = "; top source "
	// talkerShare is the part of the entries (a third) from which who holds them is named in the title.
	talkerShare = 3
)

// Title says a notification in one line of at most 160 characters: first how bad, what and where, then since when, then
// what it does to others and whether ctwarden could help: whether to get up is to be told from it.
func Title(n Notification) string {
	title := line(n.Title)
	if title == "" {
		title = prefix(n) + what(n) + when(n) + effect(n)
		if address := talker(n); address != "" && len([]rune(title+topSource+address)) <= maxTitle {
			title += topSource + address
		}
	}
	if n.Test {
		title = "TEST, nothing is wrong: " + title
	}
	return cut(title, maxTitle)
}

// prefix says what kind of message it is.
func prefix(n Notification) string {
	switch n.Action {
	case ActionResolve:
		return "Over: "
	case ActionAcknowledge:
		if n.By != "" {
			return "Taken by " + cut(line(n.By), 30) + ": "
		}
		return "Taken: "
	}
	severity := "Warning"
	if n.Severity == "critical" {
		severity = "Critical"
	}
	if n.Action == ActionUpdate {
		return severity + ", update: "
	}
	return severity + ": "
}

// what names the trouble and the place.
func what(n Notification) string {
	tables := "conntrack table"
	if n.HostsTotal > 1 {
		tables += "s"
	}
	switch n.Cause {
	case CauseFull:
		return tables + " full on " + where(n)
	case CauseFilling:
		return tables + " filling on " + where(n)
	case CauseChains:
		return tables + " with too few buckets on " + where(n)
	case CauseSilent:
		return "nothing heard of " + where(n)
	case CauseBudget:
		return "the fleet's steps of this hour are used up, further ones are held"
	case "":
		return "trouble on " + where(n)
	}
	return cut(line(n.Cause), 60) + " on " + where(n)
}

// where names the one host, or how many there are and where.
func where(n Notification) string {
	site := ""
	switch {
	case n.Site != "":
		site = " at " + cut(line(n.Site), 40)
	case len(n.Sites) == 1:
		site = " at " + cut(line(bySize(n.Sites)[0]), 40)
	case len(n.Sites) > 1:
		site = fmt.Sprintf(" at %d sites", len(n.Sites))
	}
	if n.HostsTotal <= 1 && len(n.Hosts) > 0 {
		return cut(line(n.Hosts[0]), maxHostInTitle) + site
	}
	return count(uint64(max(n.HostsTotal, 0)), "host") + site
}

func when(n Notification) string {
	if n.Action == ActionResolve {
		return " for " + lasted(n.Until.Sub(n.Since))
	}
	return " since " + clock(n.Since, n.At)
}

// effect is what the trouble did to others, and whether ctwarden could help.
func effect(n Notification) string {
	text := ""
	switch {
	case n.Refused > 0:
		text = ", " + count(n.Refused, "connection") + " refused"
	case n.ThrownOut > 0:
		text = ", " + count(n.ThrownOut, "connection") + " thrown out"
	}
	if !n.Verified && n.Cause != CauseSilent && n.Cause != CauseBudget && !n.Test {
		text += ", not verified"
	}
	if n.Brief != "" {
		text += "; " + cut(line(n.Brief), maxBrief)
	}
	return text
}

// talker is the address that holds at least a third of the table or, where its size is not told, of what the listed parties
// hold, unless it is alone in the list.
func talker(n Notification) string {
	var listed uint64
	for _, t := range n.Top {
		listed += t.Entries
	}
	alone := n.Entries == 0 && len(n.Top) < 2
	if len(n.Top) == 0 || alone || n.Top[0].Entries*talkerShare < max(listed, n.Entries) {
		return ""
	}
	return line(n.Top[0].Address)
}

// clock is a time as short as it can be told apart, in UTC.
func clock(t, now time.Time) string {
	t = t.UTC()
	if age := now.Sub(t); age > 12*time.Hour || age < -12*time.Hour {
		return t.Format("2006-01-02 15:04 UTC")
	}
	return t.Format("15:04 UTC")
}

// lasted is a duration in words, rounded to what matters.
func lasted(d time.Duration) string {
	switch d = max(d, 0).Round(time.Second); {
	case d < 2*time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return strconv.Itoa(int(d.Hours()/24)) + " days"
}

func count(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.FormatUint(n, 10) + " " + what + "s"
}
