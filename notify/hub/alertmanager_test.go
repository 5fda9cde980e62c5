package hub

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testpager"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/oncall"
)

// TestPromiseOneNotificationGroup has 500 hosts of a site refuse connections within a minute, with Alertmanager as the
// sender: whoever Alertmanager tells hears of one group. It is killed in the middle, which costs it its memory, and told again.
func TestPromiseOneNotificationGroup(t *testing.T) {
	const hosts = 500
	am := testpager.StartAlertmanager(t)
	_, nc, js := newLab(t)
	h := startHub(t, "one", nc, Settings{
		Fleet: fleet.Config{
			GroupBy: []string{fleet.GroupBySite}, GroupWait: time.Second, UpdateEvery: 2 * time.Second, Senders: []string{"am"},
			Labels: []fleet.LabelRule{{Labels: map[string]string{"team": "net"}}}, Routes: []fleet.Route{{To: []string{"am"}, Resolve: true}},
		},
		Senders: []oncall.Config{{Name: "am", Alertmanager: &oncall.AlertmanagerConfig{URLs: []string{am.URL}, Resend: 4 * time.Second}}},
	})
	leads(t, h)
	storm := func(event func(site, host string, n int) notify.Outgoing, from, to int) {
		t.Helper()
		for i := from; i < to; i += 50 { // as they come in: some at a time
			var events []notify.Outgoing
			for n := i; n < min(i+50, to); n++ {
				events = append(events, event("gva", fmt.Sprintf("hv%03d", n), 1))
			}
			publish(t, nc, events...)
		}
	}
	begun := time.Now()
	storm(began, 0, hosts/2)
	testhost.Eventually(t, "the first notification", func() bool { return len(am.Notices(testpager.Firing)) > 0 })
	am.Kill()
	storm(began, hosts/2, hosts)
	testhost.Eventually(t, "the hub notices that Alertmanager is away", func() bool { return h.Status().Senders[0].Error != "" })
	if took := time.Since(begun); took > time.Minute {
		t.Logf("the storm took %v: not within a minute", took)
	}
	am.Launch()
	all := fmt.Sprintf("%d hosts", hosts)
	testhost.Eventually(t, "one alert of all hosts", func() bool {
		alerts := am.Active()
		return len(alerts) == 1 && strings.Contains(alerts[0].Annotations["summary"]+alerts[0].Annotations["description"], all)
	})
	testhost.Eventually(t, "the notification after the kill", func() bool { return len(am.Notices(testpager.Firing)) > 1 })
	storm(closed, 0, hosts)
	testhost.Eventually(t, "the end", func() bool { return len(am.Notices(testpager.Resolved)) > 0 && len(am.Active()) == 0 })
	settled(t, js)

	groups := map[string]int{}
	for _, n := range am.Notices(func(testpager.Notice) bool { return true }) {
		groups[n.GroupKey]++
		if len(n.Alerts) != 1 || n.GroupLabels["site"] != "gva" || n.GroupLabels["severity"] != "critical" {
			t.Errorf("notification %+v", n)
		}
	}
	// One as it began, one of the Alertmanager that remembers nothing, one of the end.
	if len(groups) != 1 || len(am.Notices(testpager.Firing)) != 2 || len(am.Notices(testpager.Resolved)) != 1 {
		t.Errorf("%d notification groups, %d notices of the trouble, %d of its end", len(groups), len(am.Notices(testpager.Firing)), len(am.Notices(testpager.Resolved)))
	}
	known := pageIncidents{h.Hub}.Groups()
	if len(known) != 1 || known[0].Hosts != hosts || known[0].Incidents != hosts || known[0].OpenHosts != 0 || known[0].ClosedAt.IsZero() {
		t.Errorf("%d groups, the first with %d hosts, %d incidents", len(known), known[0].Hosts, known[0].Incidents)
	}
	if st := h.Status(); st.Events != 2*hosts || st.Senders[0].Dead != 0 {
		t.Errorf("%d events, %d dead letters", st.Events, st.Senders[0].Dead)
	}
	testhost.Held(t, "4.14 one notification group at Alertmanager", "%d hosts' incidents, Alertmanager killed in the middle: 1 notification group, 2 notices of the trouble (one after the kill), 1 of its end, lost 0", hosts)
}
