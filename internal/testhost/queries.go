package testhost

import (
	"os"
	"regexp"
	"testing"

	"go.yaml.in/yaml/v4"
)

// queriedMetric is how a metric of ours is named in a query.
var queriedMetric = regexp.MustCompile(`ctwarden_[a-z_]+`)

// Queries are Prometheus' queries in a file of alert rules or a dashboard, each with the metrics of ours that it names.
func Queries(t *testing.T, file string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var document any
	if err := yaml.Unmarshal(text, &document); err != nil { // which JSON is too
		t.Fatalf("%s: %v", file, err)
	}
	queries := map[string][]string{}
	for _, query := range expressions(document) {
		queries[query] = queriedMetric.FindAllString(query, -1)
	}
	return queries
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

// HoldQueries holds a file of queries to the metrics that there are: it asks for no other, and, where all is set, for each.
// It has least queries or more.
func HoldQueries(t *testing.T, file string, own map[string]bool, least int, all bool) {
	t.Helper()
	queries := Queries(t, file)
	if len(queries) < least {
		t.Fatalf("%s: %d queries", file, len(queries))
	}
	used := map[string]bool{}
	for query, names := range queries {
		for _, name := range names {
			if used[name] = true; !own[name] {
				t.Errorf("%s: %s is no metric that is exposed: %s", file, name, query)
			}
		}
	}
	for name := range own {
		if all && !used[name] {
			t.Errorf("%s does not show %s", file, name)
		}
	}
}
