package replay

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// WriteText writes the report for a person: what was read, then each incident with what would have been done.
func (r Report) WriteText(w io.Writer) error {
	out := bufio.NewWriter(w)
	r.textSources(out)
	for _, in := range r.Incidents {
		out.WriteString("\n")
		in.text(out)
	}
	fmt.Fprintf(out, "\n%s\n", r.summary())
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func (r Report) textSources(b *bufio.Writer) {
	table := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "records\tmatches\tsuppressed\tnot kernel\tother host\tunparsed\t  source")
	for _, s := range r.Sources {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t  %s\n", digits(s.Records), digits(s.Matches), digits(s.Suppressed),
			digits(s.Rejected.NotKernel), digits(s.Rejected.OtherHost), digits(s.Unparsed), s.Path)
		if s.Error != "" {
			fmt.Fprintf(table, "\t\t\t\t\t\t  not read to its end: %s\n", s.Error)
		}
	}
	// What fails to be written fails again at the end.
	_ = table.Flush()
}

func (in Incident) text(b *bufio.Writer) {
	fmt.Fprintf(b, "%s  %s\n", in.span(), in.place())
	fmt.Fprintf(b, "  %s\n", in.counts())
	for _, s := range in.Steps {
		fmt.Fprintf(b, "  %s  %s -> %s  %s: %s\n", clockText(s.At, s.AtUptime), digits(s.From), digits(s.To), s.Reason,
			s.Reason.Text())
	}
	for _, f := range in.Refused {
		fmt.Fprintf(b, "  %s  no step at %s  %s: %s\n", clockText(f.At, f.AtUptime), digits(f.Limit), f.Reason,
			f.Reason.Text())
	}
}

// place names the host and the namespace.
func (in Incident) place() string {
	host := in.Host
	if host == "" {
		host = "(host not named)"
	}
	if in.NetNS == "init" {
		return host
	}
	return host + ", namespace " + in.NetNS
}

// span is when the incident was.
func (in Incident) span() string {
	switch {
	case !in.Opened.IsZero():
		return fmt.Sprintf("%s  for %s", in.Opened.Format(time.DateTime+" UTC"), in.length())
	case in.ClosedUptime > 0:
		return fmt.Sprintf("%s after boot  for %s", seconds(in.OpenedUptime), in.length())
	}
	return "at an unknown time"
}

func (in Incident) length() time.Duration {
	if !in.Opened.IsZero() {
		return in.Closed.Sub(in.Opened).Round(time.Second)
	}
	return seconds(in.ClosedUptime - in.OpenedUptime).Round(time.Second)
}

func (in Incident) counts() string {
	text := plural(in.Matches, "message", "messages")
	if in.Suppressed > 0 {
		text += fmt.Sprintf(", at most %s more suppressed", digits(uint64(in.Suppressed)))
	}
	if len(in.PerSource) > 1 {
		var each []string
		for key, n := range in.PerSource {
			each = append(each, fmt.Sprintf("%s %d", key, n))
		}
		slices.Sort(each)
		text += " (" + strings.Join(each, ", ") + ")"
	}
	return text
}

// summary is the last line: the whole in a sentence, and what it supposes.
func (r Report) summary() string {
	steps := 0
	for _, in := range r.Incidents {
		steps += len(in.Steps)
	}
	text := fmt.Sprintf("%s, %s, %s.", plural(int(r.Matches), "match", "matches"),
		plural(len(r.Incidents), "incident", "incidents"), plural(steps, "step", "steps"))
	if r.Matches == 0 {
		return text + r.hint()
	}
	return text + fmt.Sprintf(" Nothing was changed. Supposed: the table full at each message, a limit of %s at the first, "+
		"mode %s, a ceiling of %s, enough memory, the hash sized beforehand.",
		digits(r.Limit), remediate.ModeRemediate, digits(r.Ceiling))
}

// hint says why there may be no match although there are messages.
func (r Report) hint() string {
	var other uint64
	for _, s := range r.Sources {
		other += s.Rejected.OtherHost
	}
	if other == 0 {
		return ""
	}
	return fmt.Sprintf(" %s of other hosts than %s: name one with --host, or take all with --host '*'.",
		plural(int(other), "message is", "messages are"), r.Host)
}

// clockText is the time of day, or the time since boot.
func clockText(t time.Time, uptime float64) string {
	switch {
	case !t.IsZero():
		return t.Format("15:04:05.000")
	case uptime > 0:
		return fmt.Sprintf("[%12.6f]", uptime)
	}
	return "--:--:--"
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return digits(uint64(n)) + " " + many
}

// digits writes a number with its digits in groups of three.
func digits(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
