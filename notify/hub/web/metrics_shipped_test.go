package web

import (
	"reflect"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// TestShippedQueries holds the hub's alert rules and dashboard to the hub: they ask for no metric that it does not have,
// and the dashboard for all that it has.
func TestShippedQueries(t *testing.T) {
	own := map[string]bool{}
	set := reflect.ValueOf(newHubMetrics())
	for i := range set.NumField() {
		own[set.Field(i).FieldByName("Name").String()] = true
	}
	testhost.HoldQueries(t, "../../../packaging/prometheus/ctwarden-hub.rules.yaml", own, 8, false)
	testhost.HoldQueries(t, "../../../packaging/grafana/ctwarden-hub.json", own, 15, true)
}
