package replay

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ctwarden/ctwarden/remediate"
)

// maxLanes bounds the lanes of the timeline, maxMarks the times at its top: more cannot be told apart.
const (
	maxLanes = 40
	maxMarks = 7
)

// The timeline's measures, in the units of its drawing.
const (
	drawWidth  = 1000.0
	laneHeight = 34.0
	axisHeight = 28.0
	// A label is cut off behind so many letters, each about so wide.
	maxLabel    = 36
	letterWidth = 6.9
	labelMargin = 12.0
)

// timeline is a drawing: a lane for each host and namespace, a bar for each incident, a tick for each message, a dot
// for each step.
type timeline struct {
	Width, Height float64
	Lanes         []lane
	Marks         []mark
	// Left is how many lanes did not fit.
	Left int
}

type lane struct {
	Name   string // in full
	Label  string
	Y, Mid float64
	Bars   []bar
	// rest has the bars of incidents that are not listed, ticks one stroke for each message, as paths.
	rest, ticks []byte
	// right is where the last bar ends, lastTick where the last stroke is.
	right, lastTick float64
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
	t := &timeline{Width: drawWidth}
	index, longest := t.addLanes(incidents)
	s := scale{from, max(to.Sub(from), time.Second), float64(longest)*letterWidth + 2.5*labelMargin}
	t.Marks = s.marks()
	for i, in := range incidents {
		if lane, ok := index[in.place()]; ok && lane < len(t.Lanes) && !in.Opened.IsZero() {
			t.Lanes[lane].add(s, i+1, in)
		}
	}
	t.Left = len(index) - len(t.Lanes)
	t.Height = axisHeight + laneHeight*float64(len(t.Lanes))
	return t
}

// addLanes makes a lane for each host and namespace, and says which. The longest label has so many letters.
func (t *timeline) addLanes(incidents []Incident) (index map[string]int, longest int) {
	index = map[string]int{}
	for _, in := range incidents {
		name := in.place()
		if _, known := index[name]; known || in.Opened.IsZero() {
			continue
		}
		i := len(index)
		index[name] = i
		if i < maxLanes {
			y := axisHeight + laneHeight*float64(i)
			l := lane{Name: name, Label: label(name), Y: y, Mid: y + laneHeight/2}
			t.Lanes = append(t.Lanes, l)
			longest = max(longest, utf8.RuneCountInString(l.Label))
		}
	}
	return index, longest
}

// label is a name that fits beside the lane.
func label(name string) string {
	letters := []rune(strings.Replace(name, ", namespace ", " ns ", 1))
	if len(letters) <= maxLabel {
		return string(letters)
	}
	// The end tells more: it is the namespace, where there is one.
	return string(letters[:maxLabel/2-1]) + "…" + string(letters[len(letters)-maxLabel/2:])
}

// add draws one incident. Of those that are not listed, one that would not be seen beside the one before is left out.
func (l *lane) add(s scale, number int, in Incident) {
	x, right := s.x(in.Opened), s.x(in.Closed)
	y, height := l.Y+6, laneHeight-12
	if number > maxListed && right-l.right < 1 && len(in.Steps) == 0 {
		return
	}
	l.right = right
	width := max(right-x, 3)
	l.addTicks(s, in.Moments)
	if number > maxListed {
		l.rest = fmt.Appendf(l.rest, "M%.1f %.1fh%.1fv%.1fh%.1fz", x, y, width, height, -width)
		return
	}
	b := bar{
		X: x, Y: y, Width: width, Height: height, Number: number,
		Title: fmt.Sprintf("%s, %s: %s", in.place(), in.span(), in.counts()),
	}
	for _, step := range in.Steps {
		b.Dots = append(b.Dots, dot{s.x(step.At), l.Mid, fmt.Sprintf("%s: %s to %s", clockText(step.At, 0),
			digits(step.From), digits(step.To))})
	}
	l.Bars = append(l.Bars, b)
}

// addTicks adds a stroke for each message, but for those that would not be seen beside the one before.
func (l *lane) addTicks(s scale, moments remediate.Times) {
	for i := range moments.Len() {
		if x := s.x(moments.At(i)); x-l.lastTick >= 1 {
			l.ticks = fmt.Appendf(l.ticks, "M%.1f %.1fv%.1f", x, l.Y+10, laneHeight-20)
			l.lastTick = x
		}
	}
}

// scale maps time to the drawing.
type scale struct {
	from time.Time
	span time.Duration
	left float64 // where the time begins, behind the labels
}

func (s scale) x(t time.Time) float64 {
	const margin = 12
	return s.left + float64(t.Sub(s.from))/float64(s.span)*(drawWidth-s.left-margin)
}

// steps are the distances between two marks that read well.
var steps = [...]time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	day, 2 * day, 7 * day, 14 * day, 28 * day, 91 * day, 182 * day, 364 * day,
}

const day = 24 * time.Hour

// marks are the times written at the top: as many as there is room for, at round times.
func (s scale) marks() []mark {
	i := slices.IndexFunc(steps[:], func(d time.Duration) bool { return s.span/d < maxMarks })
	step := steps[max(i, 0)]
	if i < 0 {
		for step = steps[len(steps)-1]; s.span/step >= maxMarks; step *= 2 {
		}
	}
	layout := "Jan 2, 2006"
	switch {
	case step < time.Minute:
		layout = "15:04:05"
	case step < day && s.span < day:
		layout = "15:04"
	case step < day:
		layout = "Jan 2 15:04"
	}
	var out []mark
	for at := s.from.Truncate(step); !at.After(s.from.Add(s.span)); at = at.Add(step) {
		if !at.Before(s.from) {
			out = append(out, mark{X: s.x(at), Text: at.UTC().Format(layout), Anchor: s.anchor(at)})
		}
	}
	return out
}

// anchor keeps a text inside the drawing.
func (s scale) anchor(at time.Time) string {
	const half = 40
	switch x := s.x(at); {
	case x < s.left+half:
		return "start"
	case x > drawWidth-half:
		return "end"
	}
	return "middle"
}
