package replay

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

//go:embed page.html
var page string

// maxLanes bounds the lanes of the timeline, maxTicks the marks in one incident: more cannot be told apart.
const (
	maxLanes = 40
	maxTicks = 400
)

// The timeline's measures, in the units of its drawing.
const (
	drawWidth  = 1000.0
	labelWidth = 170.0
	laneHeight = 34.0
	axisHeight = 28.0
)

// WriteHTML writes the report as one page that needs nothing else: no script, no file, no network.
func (r Report) WriteHTML(w io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"digits": digits, "clock": clockText, "text": func(why remediate.Reason) string { return why.Text() },
	}).Parse(page)
	if err != nil {
		return fmt.Errorf("parse the page: %w", err)
	}
	if err := t.Execute(w, r.view()); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// view is what the page shows.
type view struct {
	Report
	Summary  string
	Steps    int
	Highest  uint64
	List     []viewIncident
	Timeline *timeline
}

type viewIncident struct {
	Incident
	Number              int
	Place, Span, Counts string
}

func (r Report) view() view {
	v := view{Report: r, Summary: r.summary(), Highest: r.Limit, Timeline: newTimeline(r.Incidents)}
	for i, in := range r.Incidents {
		v.Steps += len(in.Steps)
		for _, s := range in.Steps {
			v.Highest = max(v.Highest, s.To)
		}
		v.List = append(v.List, viewIncident{in, i + 1, in.place(), in.span(), in.counts()})
	}
	return v
}

// timeline is a drawing: a lane for each host and namespace, a bar for each incident, a tick for each message, a dot
// for each step.
type timeline struct {
	Width, Height, LabelWidth float64
	Lanes                     []lane
	Marks                     []mark
	// Left is how many lanes did not fit.
	Left int
}

type lane struct {
	Name     string
	Y, Mid   float64
	Bars     []bar
	Messages string // the ticks, as one path
}

type bar struct {
	X, Y, Width, Height float64
	Number              int
	Title               string
	Dots                []dot
}

type dot struct {
	X, Y  float64
	Title string
}

type mark struct {
	X    float64
	Text string
	// Anchor keeps the first and last text inside the drawing.
	Anchor string
}

// newTimeline draws the incidents whose time is known; nil: there are none.
func newTimeline(incidents []Incident) *timeline {
	var from, to time.Time
	for _, in := range incidents {
		if in.Opened.IsZero() {
			continue
		}
		if from.IsZero() || in.Opened.Before(from) {
			from = in.Opened
		}
		if in.Closed.After(to) {
			to = in.Closed
		}
	}
	if from.IsZero() {
		return nil
	}
	s := scale{from, max(to.Sub(from), time.Second)}
	t := &timeline{Width: drawWidth, LabelWidth: labelWidth, Marks: s.marks()}
	index := map[string]int{}
	for i, in := range incidents {
		if !in.Opened.IsZero() {
			t.add(index, s, i+1, in)
		}
	}
	t.Left = len(index) - len(t.Lanes)
	t.Height = axisHeight + laneHeight*float64(len(t.Lanes))
	return t
}

// add draws one incident in its lane.
func (t *timeline) add(index map[string]int, s scale, number int, in Incident) {
	name := in.place()
	i, known := index[name]
	if !known {
		i = len(index)
		index[name] = i
		if i < maxLanes {
			y := axisHeight + laneHeight*float64(i)
			t.Lanes = append(t.Lanes, lane{Name: name, Y: y, Mid: y + laneHeight/2})
		}
	}
	if i >= maxLanes {
		return
	}
	l := &t.Lanes[i]
	x := s.x(in.Opened)
	b := bar{
		X: x, Y: l.Y + 6, Width: max(s.x(in.Closed)-x, 3), Height: laneHeight - 12, Number: number,
		Title: fmt.Sprintf("%s, %s: %s", in.place(), in.span(), in.counts()),
	}
	for _, step := range in.Steps {
		b.Dots = append(b.Dots, dot{s.x(step.At), l.Mid, fmt.Sprintf("%s: %s to %s", clockText(step.At, 0),
			digits(step.From), digits(step.To))})
	}
	l.Messages += s.ticks(in.Moments, l.Y+10, laneHeight-20)
	l.Bars = append(l.Bars, b)
}

// scale maps time to the drawing.
type scale struct {
	from time.Time
	span time.Duration
}

func (s scale) x(t time.Time) float64 {
	const margin = 12
	return labelWidth + float64(t.Sub(s.from))/float64(s.span)*(drawWidth-labelWidth-margin)
}

// ticks is a path with a stroke for each message, from y down; not all of many.
func (s scale) ticks(moments remediate.Times, y, height float64) string {
	var path strings.Builder
	for i := 0; i < moments.Len(); i += moments.Len()/maxTicks + 1 {
		fmt.Fprintf(&path, "M%.1f %.1fv%.1f", s.x(moments.At(i)), y, height)
	}
	return path.String()
}

// marks are the times written at the top.
func (s scale) marks() []mark {
	layout := "Jan 2, 2006"
	switch {
	case s.span < 10*time.Minute:
		layout = "15:04:05"
	case s.span < 24*time.Hour:
		layout = "15:04"
	case s.span < 20*24*time.Hour:
		layout = "Jan 2 15:04"
	}
	const parts = 5
	var out []mark
	for i := range parts + 1 {
		at := s.from.Add(s.span / parts * time.Duration(i))
		m := mark{X: s.x(at), Text: at.UTC().Format(layout), Anchor: "middle"}
		switch i {
		case 0:
			m.Anchor = "start"
		case parts:
			m.Anchor = "end"
		}
		out = append(out, m)
	}
	return out
}
