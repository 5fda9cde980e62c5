package testpager

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// Alertmanager is Debian's prometheus-alertmanager with a receiver of its webhooks.
type Alertmanager struct {
	t       *testing.T
	program testhost.Program
	// URL is its address.
	URL  string
	dir  string
	args []string

	mu       sync.Mutex
	received []Notice
}

// Notice is a notification as Alertmanager posts it to a receiver.
type Notice struct {
	Status      string            `json:"status"`
	GroupKey    string            `json:"groupKey"`
	GroupLabels map[string]string `json:"groupLabels"`
	Alerts      []struct {
		Status      string            `json:"status"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"alerts"`
}

// StartAlertmanager starts one that groups as an operator would: by alert name, site and severity.
func StartAlertmanager(t *testing.T) *Alertmanager {
	t.Helper()
	path, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		testhost.Skip(t, "needs prometheus-alertmanager; scripts/setup.sh test installs it")
	}
	am := &Alertmanager{t: t, dir: t.TempDir()}
	hook := httptest.NewServer(http.HandlerFunc(am.notice))
	t.Cleanup(hook.Close)
	port := testhost.Port(t)
	am.URL = fmt.Sprintf("http://127.0.0.1:%d", port)
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
	am.Launch()
	t.Cleanup(func() { am.program.Kill() })
	return am
}

// Launch starts it, again after [Alertmanager.Kill] or [Alertmanager.Stop], and returns when it is ready.
func (am *Alertmanager) Launch() {
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
		resp, err := http.Get(am.URL + "/-/ready")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func (am *Alertmanager) notice(w http.ResponseWriter, r *http.Request) {
	var n Notice
	if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
		am.t.Errorf("a notice of Alertmanager: %v", err)
	}
	am.mu.Lock()
	defer am.mu.Unlock()
	am.received = append(am.received, n)
}

// Notices are those received so far that satisfy a condition.
func (am *Alertmanager) Notices(want func(n Notice) bool) (out []Notice) {
	am.mu.Lock()
	defer am.mu.Unlock()
	for _, n := range am.received {
		if want(n) {
			out = append(out, n)
		}
	}
	return out
}

// Alert is an alert as the API shows it.
type Alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	EndsAt      time.Time         `json:"endsAt"`
}

// Active are the alerts that it has.
func (am *Alertmanager) Active() (out []Alert) {
	am.t.Helper()
	resp, err := http.Get(am.URL + "/api/v2/alerts?active=true&silenced=false&inhibited=false")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		am.t.Fatal(err)
	}
	return out
}

// Kill ends it as a crash does: it remembers nothing.
func (am *Alertmanager) Kill() { am.program.Kill() }

// Stop ends it in order.
func (am *Alertmanager) Stop() error { return am.program.Stop() }

// Firing and Resolved choose notices.
func Firing(n Notice) bool   { return n.Status == "firing" }
func Resolved(n Notice) bool { return n.Status == "resolved" }
