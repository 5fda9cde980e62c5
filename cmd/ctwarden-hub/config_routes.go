package main

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

// routeSettings say whom to tell of what.
type routeSettings struct {
	Name  string        `yaml:"name"`
	Match matchSettings `yaml:"match"`
	// Active are the times at which the route counts; empty: always.
	Active []windowSettings `yaml:"active"`
	To     []string         `yaml:"to"`
	// Escalate tells others while nobody acknowledges.
	Escalate []escalationSettings `yaml:"escalate"`
	// Continue has the routes behind this one looked at too.
	Continue bool `yaml:"continue"`
	// Resolve tells of the end too; not set: yes.
	Resolve *bool `yaml:"resolve"`
}

type matchSettings struct {
	Site     string             `yaml:"site"`
	Severity remediate.Severity `yaml:"severity"`
	Kind     fleet.Kind         `yaml:"kind"`
	Labels   map[string]string  `yaml:"labels"`
}

// windowSettings are times of day on some days of the week.
type windowSettings struct {
	Days     []string `yaml:"days"`
	From     string   `yaml:"from"`
	To       string   `yaml:"to"`
	Timezone string   `yaml:"timezone"`
}

type escalationSettings struct {
	After time.Duration `yaml:"after"`
	To    []string      `yaml:"to"`
}

// Validate implements config.Validator for one route, as far as it can be judged alone.
func (r *routeSettings) Validate(p *config.Problems) {
	if r.Name == "" {
		p.Add("name", "must be a name; pages and test-page call the route by it")
	}
	if len(r.To) == 0 {
		p.Add("to", "must name at least one entry of oncall")
	}
	checkSite(p, "match.site", r.Match.Site)
	checkLabels(p, "match.labels", r.Match.Labels, true)
	if s := r.Match.Severity; s != "" {
		config.OneOf(p, "match.severity", s, remediate.SeverityWarning, remediate.SeverityCritical)
	}
	if k := r.Match.Kind; k != "" {
		config.OneOf(p, "match.kind", k, fleet.KindConntrack, fleet.KindSilent, fleet.KindBudget)
	}
	for i, e := range r.Escalate {
		if e.After < time.Minute || i > 0 && e.After <= r.Escalate[i-1].After {
			p.Add(fmt.Sprintf("escalate[%d].after", i), "must be at least 1m, and more than that of the stage before")
		}
		if len(e.To) == 0 {
			p.Add(fmt.Sprintf("escalate[%d].to", i), "must name at least one entry of oncall")
		}
	}
}

// Validate implements config.Validator.
func (w *windowSettings) Validate(p *config.Problems) {
	for i, day := range w.Days {
		if weekday(day) < 0 {
			p.Add(fmt.Sprintf("days[%d]", i), "must be one of mon, tue, wed, thu, fri, sat, sun")
		}
	}
	for key, text := range map[string]string{"from": w.From, "to": w.To} {
		if _, ok := timeOfDay(text); !ok {
			p.Add(key, "must be a time of day in quotes, such as \"08:30\"")
		}
	}
}

// validateRoutes looks at what routes say of the rest of the file.
func (s settings) validateRoutes(p *config.Problems) {
	known := func(key string, names []string) {
		for i, name := range names {
			if !slices.ContainsFunc(s.OnCall, func(c oncall.Config) bool { return c.Name == name }) {
				p.Add(fmt.Sprintf("%s[%d]", key, i), "is not the name of an entry of oncall")
			}
		}
	}
	for i, r := range s.Routes {
		key := fmt.Sprintf("routes[%d]", i)
		known(key+".to", r.To)
		for j, e := range r.Escalate {
			known(fmt.Sprintf("%s.escalate[%d].to", key, j), e.To)
		}
		if slices.ContainsFunc(s.Routes[:i], func(o routeSettings) bool { return o.Name == r.Name }) {
			p.Add(key+".name", "is the name of another route")
		}
	}
}

// zones are the time zones that the file names, by key.
func (s settings) zones() iter.Seq2[string, string] {
	return func(yield func(key, zone string) bool) {
		for i, r := range s.Routes {
			for j, w := range r.Active {
				if !yield(fmt.Sprintf("routes[%d].active[%d].timezone", i, j), w.Timezone) {
					return
				}
			}
		}
	}
}

// location is a time zone by name; no name is this machine's.
func location(zone string) (*time.Location, error) {
	if zone == "" {
		return time.Local, nil
	}
	return time.LoadLocation(zone)
}

// weekday is the day by its first three letters; -1: there is none.
func weekday(text string) int {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if strings.EqualFold(text, d.String()[:3]) {
			return int(d)
		}
	}
	return -1
}

// timeOfDay is how long after midnight it is. No text is midnight.
func timeOfDay(text string) (time.Duration, bool) {
	if text == "" {
		return 0, true
	}
	if text == "24:00" {
		return 0, true
	}
	at, err := time.Parse("15:04", text)
	return time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute, err == nil
}

// route is the route as the fleet has it.
func (r routeSettings) route() fleet.Route {
	out := fleet.Route{
		Name: r.Name, To: r.To, Continue: r.Continue, Resolve: r.Resolve == nil || *r.Resolve,
		Match: fleet.Match{Site: r.Match.Site, Labels: r.Match.Labels, Severity: r.Match.Severity, Kind: r.Match.Kind},
	}
	for _, e := range r.Escalate {
		out.Escalate = append(out.Escalate, fleet.Escalation{After: e.After, To: e.To})
	}
	for _, w := range r.Active {
		from, _ := timeOfDay(w.From)
		to, _ := timeOfDay(w.To)
		window := fleet.Window{From: from, To: to}
		for _, day := range w.Days {
			window.Days = append(window.Days, time.Weekday(weekday(day)))
		}
		if loc, err := location(w.Timezone); err == nil {
			window.Location = loc
		}
		out.Active = append(out.Active, window)
	}
	return out
}
