// Package exposition writes metrics in Prometheus' text format.
//
// Prometheus' library is not used for it, since it brings protobuf along, which takes a tenth of an agent's memory for as
// long as it runs.
package exposition

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// ContentType is the format that a scrape is in, for the header of that name.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Metric is one of the names of the contract. Make it with [Counter] or [Gauge].
type Metric struct {
	// Name begins with "ctwarden_". Kind is counter or gauge.
	Name, Help, Kind string
	// Labels are the labels' names, in the order of the alphabet.
	Labels []string
}

// Counter is a metric that only grows, ctwarden_ and name, which ends with "_total".
func Counter(name, help string, labels ...string) Metric {
	return Metric{"ctwarden_" + name, help, "counter", labels}
}

// Gauge is a metric that goes up and down, ctwarden_ and name.
func Gauge(name, help string, labels ...string) Metric {
	return Metric{"ctwarden_" + name, help, "gauge", labels}
}

// Scrape is the answer to one scrape. The zero value is empty. It is for one goroutine.
type Scrape struct {
	families map[string]*family
	err      error // the first mistake of a caller
}

// family is a metric with its samples, by their labels as they are written.
type family struct {
	Metric
	samples map[string]float64
}

// Send adds a sample, with the values of the metric's labels in their order, in UTF-8. The same labels twice are a mistake,
// since Prometheus would refuse the whole scrape; Text tells of it.
func (e *Scrape) Send(m Metric, value float64, values ...string) {
	f := e.families[m.Name]
	if f == nil {
		f = &family{m, map[string]float64{}}
		if e.families == nil {
			e.families = map[string]*family{}
		}
		e.families[m.Name] = f
	}
	labels := m.labelText(values)
	if _, twice := f.samples[labels]; e.err == nil && (twice || len(values) != len(m.Labels)) {
		e.err = fmt.Errorf("metric %s: sample %q comes twice or lacks a label", m.Name, labels)
	}
	f.samples[labels] = value
}

// labelText is the labels within their braces; empty: there are none.
func (m Metric) labelText(values []string) string {
	var pairs []string
	for i, name := range m.Labels[:min(len(m.Labels), len(values))] {
		pairs = append(pairs, name+`="`+labelEscaper.Replace(values[i])+`"`)
	}
	if len(pairs) == 0 {
		return ""
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

// What the format escapes. In help texts quotes are left as they are.
var (
	labelEscaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
	helpEscaper  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
)

// Text writes the metrics, by name, and each one's samples, by label. Its error is the first mistake of a caller of Send.
func (e *Scrape) Text() (string, error) {
	if e.err != nil {
		return "", e.err
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(e.families)) {
		f := e.families[name]
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, helpEscaper.Replace(f.Help), name, f.Kind)
		for _, labels := range slices.Sorted(maps.Keys(f.samples)) {
			fmt.Fprintf(&b, "%s%s %s\n", name, labels, strconv.FormatFloat(f.samples[labels], 'g', -1, 64))
		}
	}
	return b.String(), nil
}
