package oncall

import (
	"context"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testpager"
)

// resend is how often the queues repeat: an alert lasts four times as long, which a loaded machine must not come near.
const resend = 4 * time.Second

// realAlertmanager is one with queues that tell it.
type realAlertmanager struct {
	*testpager.Alertmanager
	t *testing.T
}

func startAlertmanager(t *testing.T) *realAlertmanager {
	t.Helper()
	return &realAlertmanager{testpager.StartAlertmanager(t), t}
}

// runQueue starts the queue of a sender to it.
func (am *realAlertmanager) runQueue(c AlertmanagerConfig) *Queue {
	am.t.Helper()
	c.URLs = []string{am.URL}
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

// TestRealAlertmanager: 500 hosts are one alert and one notification group, updates make no new one, Alertmanager is killed
// in the middle and knows all again, and the end is told.
func TestRealAlertmanager(t *testing.T) {
	am := startAlertmanager(t)
	q := am.runQueue(AlertmanagerConfig{Resend: resend, Labels: map[string]string{"team": "net"}})
	begun := storm("g1", ActionTrigger)
	if err := q.Submit(begun, nil); err != nil {
		t.Fatal(err)
	}
	testhost.Eventually(t, "a notice of the alert", func() bool { return len(am.Notices(testpager.Firing)) > 0 })
	changed := storm("g1", ActionUpdate)
	changed.Since, changed.HostsTotal = begun.Since, 900
	if err := q.Submit(changed, nil); err != nil {
		t.Fatal(err)
	}
	testhost.Eventually(t, "the update in the API", func() bool {
		alerts := am.Active()
		return len(alerts) == 1 && alerts[0].Annotations["summary"] == Title(changed)
	})
	a := am.Active()[0]
	if a.Labels["ctwarden_group"] != "g1" || a.Labels["team"] != "net" || a.Labels["rack"] != "b12" || a.Annotations["description"] != Text(changed) {
		t.Errorf("got %+v", a)
	}

	am.Kill()
	testhost.Eventually(t, "the queue to notice", func() bool { return q.Status().Problem != "" })
	am.Launch()
	if len(am.Active()) > 1 {
		t.Errorf("alerts %+v", am.Active())
	}
	testhost.Eventually(t, "the alert again", func() bool { return len(am.Active()) == 1 })
	testhost.Eventually(t, "the notice again", func() bool { return len(am.Notices(testpager.Firing)) > 1 })

	end := storm("g1", ActionResolve)
	end.Since = begun.Since
	if err := q.Submit(end, nil); err != nil {
		t.Fatal(err)
	}
	testhost.Eventually(t, "the end", func() bool { return len(am.Notices(testpager.Resolved)) > 0 && len(am.Active()) == 0 })
	groups := map[string]bool{}
	for _, n := range am.Notices(func(testpager.Notice) bool { return true }) {
		groups[n.GroupKey] = true
		if len(n.Alerts) != 1 || n.GroupLabels["severity"] != "critical" || n.GroupLabels["site"] != "gva" {
			t.Errorf("notice %+v", n)
		}
	}
	// One when it began, one after the kill, which took Alertmanager's memory of the first, one at the end.
	if len(groups) != 1 || len(am.Notices(testpager.Firing)) != 2 || len(am.Notices(testpager.Resolved)) != 1 {
		t.Errorf("%d groups, %d notices of the alert, %d of its end", len(groups), len(am.Notices(testpager.Firing)), len(am.Notices(testpager.Resolved)))
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
	testhost.Eventually(t, "a notice of the alert", func() bool { return len(am.Notices(testpager.Firing)) > 0 })
	if err := am.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := q.Submit(storm("g1", ActionResolve), nil); err != nil {
		t.Fatal(err)
	}
	testhost.Eventually(t, "the queue to notice", func() bool { return q.Status().Problem != "" })
	am.Launch()
	testhost.Eventually(t, "the end", func() bool { return len(am.Notices(testpager.Resolved)) > 0 })
	if len(am.Notices(testpager.Firing)) != 1 || len(am.Notices(testpager.Resolved)) != 1 || q.Status().Dead != 0 {
		t.Errorf("%d notices of the alert, %d of its end, %+v", len(am.Notices(testpager.Firing)), len(am.Notices(testpager.Resolved)), q.Status())
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
	of := func(severity string) func(n testpager.Notice) bool {
		return func(n testpager.Notice) bool { return n.GroupLabels["severity"] == severity }
	}
	testhost.Eventually(t, "the warning", func() bool { return len(am.Notices(of("warning"))) == 1 })
	if err := q.Submit(storm("g1", ActionUpdate), nil); err != nil {
		t.Fatal(err)
	}
	testhost.Eventually(t, "the critical alert and the end of the warning", func() bool {
		w, c := am.Notices(of("warning")), am.Notices(of("critical"))
		return len(w) == 2 && w[1].Status == "resolved" && len(c) == 1 && c[0].Status == "firing"
	})
	if alerts := am.Active(); len(alerts) != 1 || alerts[0].Labels["severity"] != "critical" {
		t.Errorf("alerts %+v", alerts)
	}
}

// TestRealAlertmanagerHearsNothing: what is not told again is over by itself, four repeats later; that is what the repeats
// are for.
func TestRealAlertmanagerHearsNothing(t *testing.T) {
	am := startAlertmanager(t)
	s := senderOf(t, Config{Alertmanager: &AlertmanagerConfig{URLs: []string{am.URL}, Resend: time.Second}})
	if err := s.Send(context.Background(), storm("g1", ActionTrigger)); err != nil {
		t.Fatal(err)
	}
	testhost.Eventually(t, "a notice of the alert", func() bool { return len(am.Notices(testpager.Firing)) > 0 })
	testhost.Eventually(t, "its end", func() bool { return len(am.Notices(testpager.Resolved)) > 0 && len(am.Active()) == 0 })
}

// TestRealAlertmanagerTakesAll: it takes every sample, and has those that are open.
func TestRealAlertmanagerTakesAll(t *testing.T) {
	am := startAlertmanager(t)
	s := senderOf(t, Config{Alertmanager: &AlertmanagerConfig{URLs: []string{am.URL}, Resend: time.Hour}})
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
		for _, a := range am.Active() {
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
