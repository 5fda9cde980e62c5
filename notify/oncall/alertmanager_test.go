package oncall

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// postedAlert is postableAlert of Alertmanager's openapi.yaml.
type postedAlert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL"`
}

// checkAlerts is what Alertmanager checks before it says 200.
func checkAlerts(body []byte) (alerts []postedAlert, err error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&alerts); err != nil {
		return nil, err
	}
	for _, a := range alerts {
		if a.Labels["alertname"] == "" || a.StartsAt.IsZero() || a.EndsAt.Before(a.StartsAt) {
			return alerts, fmt.Errorf("alert %+v", a)
		}
		for _, set := range []map[string]string{a.Labels, a.Annotations} {
			for name, value := range set {
				if !regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`).MatchString(name) || value == "" {
					return alerts, fmt.Errorf("label %q: %q", name, value)
				}
			}
		}
	}
	return alerts, nil
}

func TestAlertmanager(t *testing.T) {
	for name, n := range samples() {
		t.Run(name, func(t *testing.T) {
			r := receive(t, plain, answerWith(200, ""))
			s := senderOf(t, Config{Alertmanager: &AlertmanagerConfig{URLs: []string{r.URL + "/am/"}, Labels: map[string]string{"team": "net"}, Resend: 30 * time.Second}})
			begun := time.Now()
			if err := s.Send(context.Background(), n); err != nil {
				t.Fatal(err)
			}
			q := r.only(t)
			alerts, err := checkAlerts(q.body)
			if err != nil {
				t.Fatal(err)
			}
			if q.path != "/am/api/v2/alerts" || len(alerts) == 0 {
				t.Fatalf("%s: %s", q.path, q.body)
			}
			a := alerts[0]
			if a.Labels["severity"] != n.Severity || a.Labels["ctwarden_group"] != n.Key || a.Labels["site"] != n.Labels["site"] || a.Labels["team"] != "net" ||
				a.Annotations["summary"] != Title(n) || a.Annotations["description"] != Text(n) || !a.StartsAt.Equal(n.Since) || a.GeneratorURL != n.Link {
				t.Errorf("got %+v", a)
			}
			for name, value := range a.Labels {
				if slices.Contains(n.Hosts, value) {
					t.Errorf("label %s is of one host: %s", name, value)
				}
			}
			if n.Action == ActionResolve && !a.EndsAt.Equal(n.Until) {
				t.Errorf("ends at %v, want %v", a.EndsAt, n.Until)
			}
			if ahead := a.EndsAt.Sub(begun); n.Action != ActionResolve && (ahead < 2*time.Minute-time.Second || ahead > 4*time.Minute) {
				t.Errorf("ends %v ahead, want four times 30 s", ahead)
			}
			twin := n.Severity == "critical" && n.Action != ActionTrigger
			if (len(alerts) == 2) != twin {
				t.Fatalf("%d alerts", len(alerts))
			}
			if twin && (alerts[1].Labels["severity"] != "warning" || alerts[1].EndsAt.After(begun)) {
				t.Errorf("the warning before it is not over: %+v", alerts[1])
			}
		})
	}
}

// TestAlertmanagerSameAlert: from trigger to resolve it is one alert to Alertmanager, which knows alerts by their labels.
func TestAlertmanagerSameAlert(t *testing.T) {
	a := &alertmanager{config: AlertmanagerConfig{Resend: time.Minute, Labels: map[string]string{"team": "net"}}}
	n := manyHosts()
	n.Labels["1st-floor"], n.Labels["site"], n.Labels["severity"], n.Labels["team"] = "yes", "gva", "wrong", "wrong"
	n.Labels["row"] = "" // to Alertmanager the same as none, and refused by some versions
	want := map[string]string{"alertname": "ConntrackTableFull", "ctwarden_group": "group-1", "severity": "critical", "rack": "b12", "_1st_floor": "yes", "team": "net", "site": "gva"}
	for _, change := range []func(n *Notification){
		func(n *Notification) { n.Action = ActionTrigger },
		func(n *Notification) { n.Action, n.HostsTotal, n.Hosts = ActionUpdate, 900, []string{"another"} },
		func(n *Notification) {
			n.Action, n.By, n.Cause, n.Site = ActionAcknowledge, "anna", CauseFilling, "zrh"
		},
		func(n *Notification) { n.Action, n.Until = ActionResolve, after(time.Hour) },
	} {
		change(&n)
		if got := a.labels(n); !maps.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", n.Action, got, want)
		}
	}
}

func TestAlertmanagerCluster(t *testing.T) {
	ok, busy, bad := answerWith(200, ""), answerWith(503, ""), answerWith(400, "bad")
	slow := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "11")
		w.WriteHeader(429)
	}
	for _, c := range []struct {
		name           string
		members        []http.HandlerFunc
		delivered, all bool
		again          bool
		after          time.Duration
	}{
		{"all take it", []http.HandlerFunc{ok, ok, ok}, true, true, false, 0},
		{"one is away", []http.HandlerFunc{busy, ok, ok}, true, false, true, 0},
		{"one says it is bad", []http.HandlerFunc{ok, bad}, true, false, true, 0},
		{"all are away", []http.HandlerFunc{busy, slow}, false, false, true, 11 * time.Second},
		{"one is away, one says it is bad", []http.HandlerFunc{busy, bad}, false, false, true, 0},
		{"all say it is bad", []http.HandlerFunc{bad, bad}, false, false, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var urls []string
			var servers []*receiver
			for _, answer := range c.members {
				r := receive(t, plain, answer)
				urls, servers = append(urls, r.URL), append(servers, r)
			}
			err := senderOf(t, Config{Alertmanager: &AlertmanagerConfig{URLs: urls}}).Send(context.Background(), oneHost())
			if Delivered(err) != c.delivered || (err == nil) != c.all {
				t.Errorf("got %v", err)
			}
			if !c.delivered {
				wantFailure(t, err, c.again, c.after)
			} else if err != nil && !strings.Contains(err.Error(), "not all Alertmanagers") {
				t.Errorf("got %v", err)
			}
			for _, r := range servers {
				r.only(t)
			}
		})
	}
}

func TestAlertmanagerLogIn(t *testing.T) {
	for _, c := range []struct {
		name   string
		config AlertmanagerConfig
		check  func(r *http.Request) bool
	}{
		{"basic", AlertmanagerConfig{Username: "me", Password: secretIn(t, testWord)}, func(r *http.Request) bool {
			user, password, ok := r.BasicAuth()
			return ok && user == "me" && password == testWord
		}},
		{"bearer", AlertmanagerConfig{Bearer: secretIn(t, testWord)}, func(r *http.Request) bool {
			return r.Header.Get("Authorization") == "Bearer "+testWord
		}},
		{"none", AlertmanagerConfig{}, func(r *http.Request) bool { return r.Header.Get("Authorization") == "" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := receive(t, plain, func(w http.ResponseWriter, r *http.Request) {
				if !c.check(r) {
					w.WriteHeader(401)
				}
			})
			c.config.URLs = []string{r.URL}
			if err := senderOf(t, Config{Alertmanager: &c.config}).Send(context.Background(), oneHost()); err != nil {
				t.Error(err)
			}
			if c.name == "none" {
				return
			}
			for _, file := range []string{c.config.Password, c.config.Bearer} { // a wrong one may be put right
				if file != "" {
					if err := os.WriteFile(file, []byte("wrong"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			wantFailure(t, senderOf(t, Config{Alertmanager: &c.config}).Send(context.Background(), oneHost()), true, 0, "answered 401")
		})
	}
}

// TestDeadMemberSlowsNobody has a cluster with a member that takes connections and never answers: the other one is told of
// each alert within seconds, the dead one is asked once at a time.
func TestDeadMemberSlowsNobody(t *testing.T) {
	gate := make(chan struct{})
	var hanging atomic.Int64
	dead := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		hanging.Add(1)
		<-gate
	}))
	defer dead.Close()
	defer close(gate)
	live := receive(t, plain, answerWith(200, ""))
	s := senderOf(t, Config{Timeout: time.Minute, Alertmanager: &AlertmanagerConfig{URLs: []string{dead.URL, live.URL}, Resend: time.Minute}})
	begun := time.Now()
	for i := range 20 {
		n := samples()["one_host_full"]
		n.Key = fmt.Sprint("k", i)
		err := s.Send(t.Context(), n)
		if !Delivered(err) || err == nil || !strings.Contains(err.Error(), hostOf(dead.URL)) {
			t.Fatalf("alert %d: %v", i, err)
		}
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("20 alerts took %v", took)
	}
	if n := hanging.Load(); n != 1 {
		t.Errorf("the dead member was asked %d times at once", n)
	}
	if n := len(live.requests()); n != 20 {
		t.Errorf("the live member was told %d times", n)
	}
}
