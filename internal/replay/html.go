package replay

import (
	"bufio"
	_ "embed"
	"fmt"
	"html"
	"io"
	"strings"

	"github.com/ctwarden/ctwarden/remediate"
)

//go:embed page.css
var pageStyle string

// maxListed is how many incidents the page describes; a browser would take long over many more, and so would a reader.
const maxListed = 500

// page is an HTML page being written. Neither text/template nor html/template does it: they find methods by name while
// the program runs, so that the linker keeps every method of every type, a fifth of the program, which is in memory as
// long as the agent runs. A write that fails is told by flushing out.
type page struct {
	out *bufio.Writer
}

// add writes a piece of the page. Its verbs are all %v, in texts and within the quotes of attributes: whatever comes in
// for them is escaped.
func (p page) add(format string, args ...any) {
	for i, arg := range args {
		// A browser takes no NUL, escaped or not.
		args[i] = html.EscapeString(strings.ReplaceAll(fmt.Sprint(arg), "\x00", "\uFFFD"))
	}
	fmt.Fprintf(p.out, format, args...)
}

// WriteHTML writes the report as one page that needs nothing else: no script, no file, no network.
func (r Report) WriteHTML(w io.Writer) error {
	p := page{bufio.NewWriter(w)}
	p.head()
	p.figures(r)
	if t := newTimeline(r.Incidents); t != nil {
		p.timeline(t)
	}
	p.incidents(r.Incidents)
	p.sources(r.Sources)
	p.add("</body>\n</html>\n")
	if err := p.out.Flush(); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

func (p page) head() {
	p.add(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>ctwarden replay</title>
<style>
`)
	p.out.WriteString(pageStyle)
	p.add("</style>\n</head>\n<body>\n<h1>ctwarden replay</h1>\n")
}

// figures are the report in a sentence and four numbers.
func (p page) figures(r Report) {
	highest, steps := r.Limit, 0
	for _, in := range r.Incidents {
		steps += len(in.Steps)
		for _, s := range in.Steps {
			highest = max(highest, s.To)
		}
	}
	p.add("<p class=\"soft\">%v</p>\n<ul class=\"figures\">\n", r.summary())
	p.add("<li><b>%v</b> messages found</li>\n", digits(r.Matches))
	p.add("<li><b>%v</b> incidents</li>\n", digits(uint64(len(r.Incidents))))
	p.add("<li><b>%v</b> steps</li>\n", digits(uint64(steps)))
	p.add("<li><b>%v</b> highest limit</li>\n</ul>\n", digits(highest))
}

// incidents describes each in the order of the report; the numbers are those that the drawing links to.
func (p page) incidents(list []Incident) {
	p.add("<h2>Incidents</h2>\n")
	for i, in := range list[:min(len(list), maxListed)] {
		p.incident(i+1, in)
	}
	if len(list) == 0 {
		p.add("<p>None.</p>\n")
	}
	if len(list) > maxListed {
		p.add("<p class=\"soft\">%v more incidents are left out here. All of them are in the output of <code>-o json</code> "+
			"and <code>-o text</code>.</p>\n", digits(uint64(len(list)-maxListed)))
	}
}

func (p page) incident(number int, in Incident) {
	p.add("<article id=\"incident-%v\">\n<h3>%v</h3>\n", number, in.place())
	p.add("<p class=\"soft\">%v · %v</p>\n", in.span(), in.counts())
	if len(in.Steps)+len(in.Refused) > 0 {
		p.add("<ul>\n")
		for _, s := range in.Steps {
			p.add("<li><time>%v</time> <b>%v → %v</b> ", clockText(s.At, s.AtUptime), digits(s.From), digits(s.To))
			p.reason(s.Reason)
		}
		for _, f := range in.Refused {
			p.add("<li><time>%v</time> no step at %v ", clockText(f.At, f.AtUptime), digits(f.Limit))
			p.reason(f.Reason)
		}
		p.add("</ul>\n")
	}
	p.add("</article>\n")
}

// reason ends the line of a step, or of one that was not taken.
func (p page) reason(why remediate.Reason) {
	p.add("<span class=\"soft\">%v: %v</span></li>\n", why, why.Text())
}

func (p page) sources(list []Source) {
	p.add("<h2>What was read</h2>\n<div class=\"scroll\"><table>\n<thead><tr>")
	for _, name := range []string{"source", "records", "matches", "suppressed", "not kernel", "other host", "unparsed"} {
		p.add("<th>%v</th>", name)
	}
	p.add("</tr></thead>\n<tbody>\n")
	for _, s := range list {
		p.add("<tr><td><code>%v</code>", s.Path)
		if s.Error != "" {
			p.add("<br><span class=\"error\">not read to its end: %v</span>", s.Error)
		}
		p.add("</td>")
		for _, n := range []uint64{s.Records, s.Matches, s.Suppressed, s.Rejected.NotKernel, s.Rejected.OtherHost, s.Unparsed} {
			p.add("<td>%v</td>", digits(n))
		}
		p.add("</tr>\n")
	}
	p.add("</tbody></table></div>\n")
}
