package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testpager"
	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/hub/web"
	"github.com/ctwarden/ctwarden/remediate"
)

// startPagingHub starts a hub with a page, and an on-call receiver. The address is that of the page.
func startPagingHub(t *testing.T) (h *hub, pager *testpager.Pager, page string) {
	t.Helper()
	pager, page = testpager.Start(t), fmt.Sprintf("127.0.0.1:%d", testhost.Port(t))
	dir := t.TempDir()
	config := filepath.Join(dir, "hub.yaml")
	text := fmt.Sprintf("listen: %s\nstate: %s\ngroup_wait: 1s\noncall: [{name: pager, webhook: {url: %q, secret: %q}}]\n",
		page, filepath.Join(dir, "state"), pager.URL, pager.SecretFile)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return startHubAt(t, "127.0.0.1:0", filepath.Join(dir, "store"), "--config", config), pager, page
}

// ask reads what the hub's page shows.
func ask(t *testing.T, page, what string, into any) {
	t.Helper()
	resp, err := http.Get("http://" + page + "/api/v1/" + what)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// seen is when the hub received the newest state of its one host.
func seen(t *testing.T, page string) (at time.Time) {
	t.Helper()
	var shown struct {
		Hosts []web.Row `json:"hosts"`
	}
	ask(t, page, "hosts", &shown)
	for _, h := range shown.Hosts {
		at = h.Seen
	}
	return at
}

// open tells on how many hosts the hub shows an incident that is open; -1: it shows none at all.
func open(t *testing.T, page string) int {
	t.Helper()
	var shown struct {
		Incidents []fleet.Group `json:"incidents"`
	}
	ask(t, page, "incidents", &shown)
	hosts := -1
	for _, g := range shown.Incidents {
		hosts = max(hosts, 0) + g.OpenHosts
	}
	return hosts
}

// TestPromiseIncidentLasts has an incident outlast many states of its host, which the hub takes for a sign that it is over
// where two of them do not list it: it pages once, shows it as open throughout, and tells of the end when the table is empty.
func TestPromiseIncidentLasts(t *testing.T) {
	_, ns := lowered(t)
	h, pager, page := startPagingHub(t)
	observe := "mode: observe\nsite: e2e\nincident: {close_after: 1s}\n" +
		"sources: {lookback: 0s, kmsg: {enabled: true}, journal: {enabled: false}, syslog: {enabled: false}}\nnats: {servers: [%q]}\n"
	a := startAgent(t, fmt.Sprintf(observe, h.url))
	watched(t, a, ns.Inode)
	testhost.Eventually(t, "the agent is connected", func() bool { return a.status(t).NATS.Connected })
	fill(t, ns)
	h.wait(t, remediate.EventIncidentOpened, 1)
	testhost.Eventually(t, "somebody is paged", func() bool { return pager.Count("trigger") == 1 })

	begun, states := time.Now(), testhost.Amount(4, 100)
	// Each order has the host send its state at once.
	for i := range states {
		order := []string{"hold", "--for", "1h", "--why", "a test"}
		if i%2 == 1 {
			order = []string{"unhold"}
		}
		last := seen(t, page)
		h.order(t, order...)
		testhost.Eventually(t, "the host has heard of it", func() bool {
			f := a.status(t).Fleet
			return f != nil && (f.Hold != nil) == (i%2 == 0)
		})
		testhost.Eventually(t, "the hub has a later state", func() bool { return seen(t, page).After(last) })
		if got := open(t, page); got != 1 {
			t.Fatalf("after %d states the hub shows the incident open on %d hosts, want 1; paged %+v", i+1, got, pager.Pages())
		}
	}
	if pages := pager.Pages(); len(pages) != 1 {
		t.Errorf("paged %+v, want one page", pages)
	}

	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	h.wait(t, remediate.EventIncidentClosed, 1)
	testhost.Eventually(t, "the hub shows it as over, and says so", func() bool {
		return open(t, page) == 0 && pager.Count("resolve") == 1
	})
	if n := len(h.of(remediate.EventIncidentOpened)); n != 1 || pager.Count("trigger") != 1 {
		t.Errorf("%d incidents, paged %+v", n, pager.Pages())
	}
	testhost.Held(t, "4.17 an incident that lasts", "open for %v and %d states of its host: paged once, open on the hub throughout, its end told once",
		time.Since(begun).Round(time.Second), states)
}
