package agent

import (
	"reflect"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// ownMetrics are the names of all metrics.
func ownMetrics() map[string]bool {
	names := map[string]bool{}
	set := reflect.ValueOf(newMetricSet())
	for i := range set.NumField() {
		names[set.Field(i).FieldByName("Name").String()] = true
	}
	return names
}

// TestShippedQueries holds the alert rules and the dashboard to the agent: they ask for no metric that it does not have,
// and the dashboard for all that it has.
func TestShippedQueries(t *testing.T) {
	testhost.HoldQueries(t, "../../packaging/prometheus/ctwarden.rules.yaml", ownMetrics(), 10, false)
	testhost.HoldQueries(t, "../../packaging/grafana/ctwarden.json", ownMetrics(), 20, true)
}
