package replay

import (
	"bufio"
	_ "embed"
	"fmt"
	"html/template"
	"io"

	"github.com/ctwarden/ctwarden/remediate"
)

//go:embed page.html
var page string

// maxListed is how many incidents the page describes; a browser would take long over many more, and so would a reader.
const maxListed = 500

// WriteHTML writes the report as one page that needs nothing else: no script, no file, no network.
func (r Report) WriteHTML(w io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"digits": digits, "clock": clockText, "text": func(why remediate.Reason) string { return why.Text() },
	}).Parse(page)
	if err != nil {
		return fmt.Errorf("parse the page: %w", err)
	}
	out := bufio.NewWriter(w)
	if err := t.Execute(out, r.view()); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// view is what the page shows.
type view struct {
	Report
	Summary      string
	Count, Steps uint64
	Highest      uint64
	List         []viewIncident
	Unlisted     uint64 // how many incidents List leaves out
	Timeline     *timeline
}

type viewIncident struct {
	Incident
	Number              int
	Place, Span, Counts string
}

func (r Report) view() view {
	v := view{
		Report: r, Summary: r.summary(), Count: uint64(len(r.Incidents)), Highest: r.Limit,
		Timeline: newTimeline(r.Incidents), Unlisted: uint64(max(0, len(r.Incidents)-maxListed)),
	}
	for i, in := range r.Incidents {
		v.Steps += uint64(len(in.Steps))
		for _, s := range in.Steps {
			v.Highest = max(v.Highest, s.To)
		}
		if i < maxListed {
			v.List = append(v.List, viewIncident{in, i + 1, in.place(), in.span(), in.counts()})
		}
	}
	return v
}
