package exposition

import (
	"math"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// parse reads an exposition as Prometheus does.
func parse(t *testing.T, text string) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return families
}

// TestExpositionRead has Prometheus' own parser read what is hard to write.
func TestExpositionRead(t *testing.T) {
	values := []float64{0, 1, -1, 0.1, 65536, 1 << 40, 1e300, -1e-300, math.MaxFloat64, math.Inf(1), math.Inf(-1), math.NaN(), 1700250.125}
	labels := map[string]string{
		"plain": "plain", "empty": "", "quote": `say "x"`, "backslash": `a\nb\\`, "lines": "a\nb\r\n\tc", "braces": `{x="y"} 1 # HELP`,
		"letters": "ä😀\uFFFD", "NUL": "a\x00b",
	}
	for name, value := range labels {
		t.Run(name, func(t *testing.T) {
			var e Scrape
			m := Gauge("x", "Of \\ and \n and \"quotes\".", "first", "second")
			for _, v := range values {
				e = Scrape{}
				e.Send(m, v, value, "other")
				text, err := e.Text()
				if err != nil {
					t.Fatal(err)
				}
				got := parse(t, text)["ctwarden_x"]
				if got.GetHelp() != m.Help || got.GetType() != dto.MetricType_GAUGE || len(got.Metric) != 1 {
					t.Fatalf("got %v", got)
				}
				one := got.Metric[0]
				if n := one.GetGauge().GetValue(); n != v && !(math.IsNaN(n) && math.IsNaN(v)) {
					t.Errorf("got %v, want %v", n, v)
				}
				if len(one.Label) != 2 || one.Label[0].GetValue() != value || one.Label[1].GetValue() != "other" {
					t.Errorf("got %v, want %q", one.Label, value)
				}
			}
		})
	}
}

// TestExpositionMistakes: what Prometheus would refuse is an error.
func TestExpositionMistakes(t *testing.T) {
	m := Counter("x_total", "Help.", "a")
	for _, c := range []struct {
		name string
		send [][]string
		want string // empty: no error
	}{
		{"nothing", nil, ""},
		{"different labels", [][]string{{"1"}, {"2"}}, ""},
		{"the same labels twice", [][]string{{"1"}, {"2"}, {"1"}}, `ctwarden_x_total: sample "{a=\"1\"}" comes twice`},
		{"no label", [][]string{{}}, "lacks a label"},
		{"too many labels", [][]string{{"1", "2"}}, "lacks a label"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e Scrape
			for _, labels := range c.send {
				e.Send(m, 1, labels...)
			}
			text, err := e.Text()
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if n := len(parse(t, text)["ctwarden_x_total"].GetMetric()); n != len(c.send) {
					t.Errorf("%d samples, want %d", n, len(c.send))
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestExpositionOrder: by name, then by labels, whatever the order they came in.
func TestExpositionOrder(t *testing.T) {
	var e Scrape
	later, first := Counter("z_total", "Z.", "a"), Gauge("b", "B.")
	e.Send(later, 2, "y")
	e.Send(first, 3)
	e.Send(later, 1, "x\"")
	const want = `# HELP ctwarden_b B.
# TYPE ctwarden_b gauge
ctwarden_b 3
# HELP ctwarden_z_total Z.
# TYPE ctwarden_z_total counter
ctwarden_z_total{a="x\""} 1
ctwarden_z_total{a="y"} 2
`
	if got, err := e.Text(); err != nil || got != want {
		t.Errorf("%v, got\n%s\nwant\n%s", err, got, want)
	}
}
