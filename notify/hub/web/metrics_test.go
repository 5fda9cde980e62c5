package web

import (
	"bytes"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/ctwarden/ctwarden/internal/exposition"
)

func TestMetrics(t *testing.T) {
	hub := sceneHub()
	hub.fleet.put(
		Row{Site: "x", Host: "1", Silent: true, Severity: "critical"}, Row{Site: "x", Host: "2", Stopped: true}, Row{Site: "x", Host: "3", Held: true}, Row{Site: "x", Host: "4", Gone: true},
	)
	hub.set(func(s *Status) {
		s.Events, s.Duplicates, s.Pending, s.Lag, s.Foreign, s.Unprinted = 101, 102, 103, 1500e6, 104, 105
	})
	a := serve(t, hub, Access{}).reader(t).get("/metrics").want(t, http.StatusOK, "")
	if kind := a.header.Get("Content-Type"); kind != exposition.ContentType {
		t.Errorf("got %q", kind)
	}
	problems, err := promlint.New(bytes.NewReader(a.body)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v in\n%s", err, problems, a.body)
	}
	for _, want := range []string{
		"ctwarden_hub_events_total 101", "ctwarden_hub_events_duplicate_total 102", "ctwarden_hub_events_pending 103", "ctwarden_hub_lag_seconds 1.5",
		"ctwarden_hub_foreign_values_total 104", "ctwarden_hub_events_unprinted_total 105", "ctwarden_hub_leader 1", "ctwarden_hub_nats_connected 1", "ctwarden_hub_state_loaded 1", "ctwarden_hub_hosts_heard 1", `ctwarden_hub_pages_total{result="delivered",sender="pagerduty"} 41`,
		`ctwarden_hub_pages_total{result="retried",sender="mail-managers"} 13`, `ctwarden_hub_pages_total{result="dead",sender="mail-managers"} 1`,
		`ctwarden_hub_pages_waiting{sender="slack-netops"} 1`, "ctwarden_hub_dead_letters 1", "ctwarden_hub_silences 1", "ctwarden_hub_holds 1",
		"ctwarden_hub_steps_budget 500", "ctwarden_hub_steps_used 61", `ctwarden_hub_incidents_open{severity="critical"} 2`,
		`ctwarden_hub_incidents_open{severity="warning"} 1`, `ctwarden_hub_build_info{goversion="go`, `version="1.2.3"} 1`, "ctwarden_hub_page_followers 0",
	} {
		if !strings.Contains(string(a.body), want) {
			t.Errorf("lacks %s", want)
		}
	}
	sum := 0.0
	for line := range strings.Lines(string(a.body)) {
		if rest, ok := strings.CutPrefix(line, "ctwarden_hub_hosts{"); ok {
			_, value, _ := strings.Cut(strings.TrimSpace(rest), " ")
			n := 0.0
			for _, digit := range value {
				n = 10*n + float64(digit-'0')
			}
			sum += n
		}
	}
	if sum != 53 {
		t.Errorf("%v hosts in all states, want each in one: 53", sum)
	}
	if promtool, err := exec.LookPath("promtool"); err == nil {
		check := exec.Command(promtool, "check", "metrics")
		check.Stdin = bytes.NewReader(a.body)
		if out, err := check.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
			t.Errorf("promtool: %v: %s", err, out)
		}
	}
}
