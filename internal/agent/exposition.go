package agent

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// expositionType is the format that an exposition is in, for the header Content-Type.
const expositionType = "text/plain; version=0.0.4; charset=utf-8"

// metric is one of the names of the contract, with its labels' names in the order of the alphabet.
type metric struct {
	name, help, kind string
	labels           []string
}

func counter(name, help string, labels ...string) metric {
	return metric{"ctwarden_" + name, help, "counter", labels}
}

func gauge(name, help string, labels ...string) metric {
	return metric{"ctwarden_" + name, help, "gauge", labels}
}

// exposition is the answer to one scrape, in Prometheus' text format. Prometheus' library is not used for it, since it
// brings protobuf along, which takes a tenth of the program's memory for as long as the agent runs. The zero value is
// empty.
type exposition struct {
	families map[string]*family
	err      error // the first mistake of a caller
}

// family is a metric with its samples, by their labels as they are written.
type family struct {
	metric
	samples map[string]float64
}

// send adds a sample, with the values of the metric's labels in their order, in UTF-8. The same labels twice are a mistake, since
// Prometheus would refuse the whole scrape.
func (e *exposition) send(m metric, value float64, values ...string) {
	f := e.families[m.name]
	if f == nil {
		f = &family{m, map[string]float64{}}
		if e.families == nil {
			e.families = map[string]*family{}
		}
		e.families[m.name] = f
	}
	labels := m.labelText(values)
	if _, twice := f.samples[labels]; e.err == nil && (twice || len(values) != len(m.labels)) {
		e.err = fmt.Errorf("metric %s: sample %q comes twice or lacks a label", m.name, labels)
	}
	f.samples[labels] = value
}

// labelText is the labels within their braces; empty: there are none.
func (m metric) labelText(values []string) string {
	var pairs []string
	for i, name := range m.labels[:min(len(m.labels), len(values))] {
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

// text writes the metrics, by name, and each one's samples, by label.
func (e *exposition) text() (string, error) {
	if e.err != nil {
		return "", e.err
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(e.families)) {
		f := e.families[name]
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, helpEscaper.Replace(f.help), name, f.kind)
		for _, labels := range slices.Sorted(maps.Keys(f.samples)) {
			fmt.Fprintf(&b, "%s%s %s\n", name, labels, strconv.FormatFloat(f.samples[labels], 'g', -1, 64))
		}
	}
	return b.String(), nil
}
