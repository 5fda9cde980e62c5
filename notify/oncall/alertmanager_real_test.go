package oncall

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// resend is how often the queues repeat: an alert lasts four times as long, which a loaded machine must not come near.
const resend = 4 * time.Second

// realAlertmanager is Debian's prometheus-alertmanager with a receiver of its webhooks.
type realAlertmanager struct {
	t       *testing.T
	program testhost.Program
	url     string
	dir     string
	args    []string

	mu       sync.Mutex
	received []amNotice
}

// amNotice is a notification as Alertmanager posts it to a receiver.
type amNotice struct {
	Status      string            `json:"status"`
	GroupKey    string            `json:"groupKey"`
	GroupLabels map[string]string `json:"groupLabels"`
	Alerts      []struct {
		Status      string            `json:"status"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"alerts"`
}

// startAlertmanager starts one that groups as an operator would: by alert name, site and severity.
func startAlertmanager(t *testing.T) *realAlertmanager {
	t.Helper()
	path, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		testhost.Skip(t, "needs prometheus-alertmanager; scripts/setup.sh test installs it")
	}
	am := &realAlertmanager{t: t, dir: t.TempDir()}
	hook := httptest.NewServer(http.HandlerFunc(am.notice))
	t.Cleanup(hook.Close)
	port := testhost.Port(t)
	am.url = fmt.Sprintf("http://127.0.0.1:%d", port)
	config := fmt.Sprintf(`route:
  receiver: hook
  group_by: [alertname, site, severity]
  group_wait: 1s
  group_interval: 1s
  repeat_interval: 1h
receivers:
  - name: hook
    webhook_configs: [{url: '%s', send_resolved: true}]
`, hook.URL)
	file := filepath.Join(am.dir, "alertmanager.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	am.args = []string{path, "--config.file=" + file, "--storage.path=" + filepath.Join(am.dir, "data"),
		fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port), "--cluster.listen-address="}
	am.start()
	t.Cleanup(func() { am.program.Kill() })
	return am
}

func (am *realAlertmanager) start() {
	am.t.Helper()
	log, err := os.OpenFile(filepath.Join(am.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		am.t.Fatal(err)
	}
	defer log.Close()
	if am.program, err = testhost.Launch(log, log, am.args[0], am.args[1:]...); err != nil {
		am.t.Fatal(err)
	}
	testhost.Eventually(am.t, "Alertmanager to be ready", func() bool {
		resp, err := http.Get(am.url + "/-/ready")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func (am *realAlertmanager) notice(w http.ResponseWriter, r *http.Request) {
	var n amNotice
	if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
		am.t.Errorf("a notice of Alertmanager: %v", err)
	}
	am.mu.Lock()
	defer am.mu.Unlock()
	am.received = append(am.received, n)
}

// notices are those received so far that satisfy a condition.
func (am *realAlertmanager) notices(want func(n amNotice) bool) (out []amNotice) {
	am.mu.Lock()
	defer am.mu.Unlock()
	for _, n := range am.received {
		if want(n) {
			out = append(out, n)
		}
	}
	return out
}

// amAlert is an alert as the API shows it.
type amAlert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	EndsAt      time.Time         `json:"endsAt"`
}

// alerts are the active ones.
func (am *realAlertmanager) alerts() (out []amAlert) {
	am.t.Helper()
	resp, err := http.Get(am.url + "/api/v2/alerts?active=true&silenced=false&inhibited=false")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		am.t.Fatal(err)
	}
	return out
}

// runQueue starts the queue of a sender to it.
func (am *realAlertmanager) runQueue(c AlertmanagerConfig) *Queue {
	am.t.Helper()
	c.URLs = []string{am.url}
	q, err := Open(Config{Name: "am", Alertmanager: &c}, Options{Program: "ctwarden-test/1"}, zap.NewNop())
	if err != nil {
		am.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // has room for the one result
	go func() { ended <- q.Run(ctx) }()
	am.t.Cleanup(func() {
		cancel()
		<-ended
	})
	return q
}

// storm is a trouble of 500 hosts that begins now.
func storm(key string, a Action) Notification {
	n := manyHosts()
	n.ID, n.Key, n.Action, n.Site, n.Since, n.At = key+"-"+string(a), key, a, "gva", time.Now().Add(-time.Minute), time.Now()
	n.Labels["site"] = "gva"
	if a == ActionResolve {
		n.Until = time.Now()
	}
	return n
}

func firing(n amNotice) bool   { return n.Status == "firing" }
func resolved(n amNotice) bool { return n.Status == "resolved" }

// TestRealAlertmanager: 500 hosts are one alert and one notification group, updates make no new one, Alertmanager is killed
// in the middle and knows all again, and the end is told.
func TestRealAlertmanager(t *testing.T) {
	am := startAlertmanager(t)
	q := am.runQueue(AlertmanagerConfig{Resend: resend, Labels: map[string]string{"team": "net"}})
	begun := storm("g1", ActionTrigger)
	if err := q.Submit(begun, nil); err != nil {
		t.Fatal(err)
	}
	testhost.Eventually(t, "a notice of the alert", func() bool { return len(am.notices(firing)) > 0 })
	changed := storm("g1", ActionUpdate)
	changed.Since, changed.HostsTotal = begun.Since, 900
	if err := q.Submit(changed, nil); err != nil {
		t.Fatal(err)
	}
	testhost.Eventually(t, "the update in the API", func() bool {
		alerts := am.alerts()
		return len(alerts) == 1 && alerts[0].Annotations["summary"] == Title(changed)
	})
	a := am.alerts()[0]
	if a.Labels["ctwarden_group"] != "g1" || a.Labels["team"] != "net" || a.Labels["rack"] != "b12" || a.Annotations["description"] != Text(changed) {
		t.Errorf("got %+v", a)
	}

	am.program.Kill()
	testhost.Eventually(t, "the queue to notice", func() bool { return q.Status().Problem != "" })
	am.start()
	if len(am.alerts()) > 1 {
		t.Errorf("alerts %+v", am.alerts())
	}
	testhost.Eventually(t, "the alert again", func() bool { return len(am.alerts()) == 1 })
	testhost.Eventually(t, "the notice again", func() bool { return len(am.notices(firing)) > 1 })

	end := storm("g1", ActionResolve)
	end.Since = begun.Since
	if err := q.Submit(end, nil); err != nil {
		t.Fatal(err)
	}
	testhost.Eventually(t, "the end", func() bool { return len(am.notices(resolved)) > 0 && len(am.alerts()) == 0 })
	groups := map[string]bool{}
	for _, n := range am.notices(func(amNotice) bool { return true }) {
		groups[n.GroupKey] = true
		if len(n.Alerts) != 1 || n.GroupLabels["severity"] != "critical" || n.GroupLabels["site"] != "gva" {
			t.Errorf("notice %+v", n)
		}
	}
	// One when it began, one after the kill, which took Alertmanager's memory of the first, one at the end.
	if len(groups) != 1 || len(am.notices(firing)) != 2 || len(am.notices(resolved)) != 1 {
		t.Errorf("%d groups, %d notices of the alert, %d of its end", len(groups), len(am.notices(firing)), len(am.notices(resolved)))
	}
}

// TestRealAlertmanagerIsStopped: stopped in order it remembers whom it told, and the end that came while it was away is
// told after its start. Nothing is told twice.
func TestRealAlertmanagerIsStopped(t *testing.T) {
	am := startAlertmanager(t)
	q := am.runQueue(AlertmanagerConfig{Resend: resend})
	if err := q.Submit(storm("g1", ActionTrigger), nil); err != nil {
		t.Fatal(err)
	}
	testhost.Eventually(t, "a notice of the alert", func() bool { return len(am.notices(firing)) > 0 })
	if err := am.program.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := q.Submit(storm("g1", ActionResolve), nil); err != nil {
		t.Fatal(err)
	}
	testhost.Eventually(t, "the queue to notice", func() bool { return q.Status().Problem != "" })
	am.start()
	testhost.Eventually(t, "the end", func() bool { return len(am.notices(resolved)) > 0 })
	if len(am.notices(firing)) != 1 || len(am.notices(resolved)) != 1 || q.Status().Dead != 0 {
		t.Errorf("%d notices of the alert, %d of its end, %+v", len(am.notices(firing)), len(am.notices(resolved)), q.Status())
	}
}

// TestRealAlertmanagerTurnsCritical: the warning is over as the critical alert begins.
func TestRealAlertmanagerTurnsCritical(t *testing.T) {
	am := startAlertmanager(t)
	q := am.runQueue(AlertmanagerConfig{Resend: resend})
	warning := storm("g1", ActionTrigger)
	warning.Severity, warning.Cause = "warning", CauseFilling
	if err := q.Submit(warning, nil); err != nil {
		t.Fatal(err)
	}
	of := func(severity string) func(n amNotice) bool {
		return func(n amNotice) bool { return n.GroupLabels["severity"] == severity }
	}
	testhost.Eventually(t, "the warning", func() bool { return len(am.notices(of("warning"))) == 1 })
	if err := q.Submit(storm("g1", ActionUpdate), nil); err != nil {
		t.Fatal(err)
	}
	testhost.Eventually(t, "the critical alert and the end of the warning", func() bool {
		w, c := am.notices(of("warning")), am.notices(of("critical"))
		return len(w) == 2 && w[1].Status == "resolved" && len(c) == 1 && c[0].Status == "firing"
	})
	if alerts := am.alerts(); len(alerts) != 1 || alerts[0].Labels["severity"] != "critical" {
		t.Errorf("alerts %+v", alerts)
	}
}

// TestRealAlertmanagerHearsNothing: what is not told again is over by itself, four repeats later; that is what the repeats
// are for.
func TestRealAlertmanagerHearsNothing(t *testing.T) {
	am := startAlertmanager(t)
	s := senderOf(t, Config{Alertmanager: &AlertmanagerConfig{URLs: []string{am.url}, Resend: time.Second}})
	if err := s.Send(context.Background(), storm("g1", ActionTrigger)); err != nil {
		t.Fatal(err)
	}
	testhost.Eventually(t, "a notice of the alert", func() bool { return len(am.notices(firing)) > 0 })
	testhost.Eventually(t, "its end", func() bool { return len(am.notices(resolved)) > 0 && len(am.alerts()) == 0 })
}

// TestRealAlertmanagerTakesAll: it takes every sample, and has those that are open.
func TestRealAlertmanagerTakesAll(t *testing.T) {
	am := startAlertmanager(t)
	s := senderOf(t, Config{Alertmanager: &AlertmanagerConfig{URLs: []string{am.url}, Resend: time.Hour}})
	want := map[string]bool{}
	for name, n := range samples() {
		n.Key = name
		n.Since = time.Now().Add(-time.Minute)
		n.At = time.Now()
		if n.Action == ActionResolve {
			n.Until = time.Now()
		} else {
			want[name] = true
		}
		if err := s.Send(context.Background(), n); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var have []string
	testhost.Eventually(t, "all alerts", func() bool {
		have = nil
		for _, a := range am.alerts() {
			have = append(have, a.Labels["ctwarden_group"])
		}
		slices.Sort(have)
		return len(slices.Compact(have)) == len(want)
	})
	for _, name := range have {
		if !want[name] {
			t.Errorf("%s is open", name)
		}
	}
}
