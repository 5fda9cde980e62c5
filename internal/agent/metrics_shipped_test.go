package agent

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"testing"

	"go.yaml.in/yaml/v4"
)

// queriedMetric is how a metric of the agent is named in a query.
var queriedMetric = regexp.MustCompile(`ctwarden_[a-z_]+`)

// ownMetrics are the names of all metrics.
func ownMetrics() map[string]bool {
	names := map[string]bool{}
	set := reflect.ValueOf(newMetricSet())
	for i := range set.NumField() {
		names[set.Field(i).FieldByName("Name").String()] = true
	}
	return names
}

// expressions are the values of every key "expr" in a document, wherever it stands.
func expressions(document any) (all []string) {
	switch node := document.(type) {
	case map[string]any:
		for key, value := range node {
			if text, ok := value.(string); ok && key == "expr" {
				all = append(all, text)
				continue
			}
			all = append(all, expressions(value)...)
		}
	case []any:
		for _, value := range node {
			all = append(all, expressions(value)...)
		}
	}
	return all
}

// TestShippedQueries holds the alert rules and the dashboard to the agent: they ask for no metric that it does not have,
// and the dashboard for all that it has.
func TestShippedQueries(t *testing.T) {
	for _, c := range []struct {
		name, file string
		decode     func([]byte, any) error
		least      int // queries
		all        bool
	}{
		{"alert rules", "../../packaging/prometheus/ctwarden.rules.yaml", func(b []byte, v any) error { return yaml.Unmarshal(b, v) }, 10, false},
		{"dashboard", "../../packaging/grafana/ctwarden.json", json.Unmarshal, 20, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, err := os.ReadFile(c.file)
			if err != nil {
				t.Fatal(err)
			}
			var document any
			if err := c.decode(text, &document); err != nil {
				t.Fatal(err)
			}
			queries := expressions(document)
			if len(queries) < c.least {
				t.Fatalf("%d queries", len(queries))
			}
			own, used := ownMetrics(), map[string]bool{}
			for _, query := range queries {
				for _, name := range queriedMetric.FindAllString(query, -1) {
					if used[name] = true; !own[name] {
						t.Errorf("%s is no metric of the agent: %s", name, query)
					}
				}
			}
			for name := range own {
				if c.all && !used[name] {
					t.Errorf("%s is not on the dashboard", name)
				}
			}
		})
	}
}
