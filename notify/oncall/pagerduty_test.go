package oncall

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// pagerDutyBody is an event as the documentation of the Events API v2 describes it.
type pagerDutyBody struct {
	RoutingKey  string `json:"routing_key"`
	EventAction string `json:"event_action"`
	DedupKey    string `json:"dedup_key"`
	Payload     *struct {
		Summary       string            `json:"summary"`
		Source        string            `json:"source"`
		Severity      string            `json:"severity"`
		Timestamp     time.Time         `json:"timestamp"`
		Component     string            `json:"component"`
		Group         string            `json:"group"`
		Class         string            `json:"class"`
		CustomDetails map[string]string `json:"custom_details"`
	} `json:"payload"`
	Links     []struct{ Href, Text string } `json:"links"`
	Client    string                        `json:"client"`
	ClientURL string                        `json:"client_url"`
}

// checkPagerDuty is what PagerDuty checks before it says 202.
func checkPagerDuty(body []byte) (b pagerDutyBody, err error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		return b, err
	}
	switch {
	case len(body) > 512<<10:
		return b, fmt.Errorf("%d bytes", len(body))
	case !regexp.MustCompile(`^[0-9a-zA-Z]{32}$`).MatchString(b.RoutingKey):
		return b, fmt.Errorf("routing key %q", b.RoutingKey)
	case !slices.Contains([]string{"trigger", "acknowledge", "resolve"}, b.EventAction):
		return b, fmt.Errorf("event_action %q", b.EventAction)
	case b.DedupKey == "" || len(b.DedupKey) > 255:
		return b, fmt.Errorf("dedup_key %q", b.DedupKey)
	case b.EventAction == "trigger" && b.Payload == nil:
		return b, fmt.Errorf("no payload")
	}
	if p := b.Payload; p != nil {
		if p.Summary == "" || len([]rune(p.Summary)) > 1024 || p.Source == "" || p.Timestamp.IsZero() ||
			!slices.Contains([]string{"critical", "error", "warning", "info"}, p.Severity) {
			return b, fmt.Errorf("payload %+v", *p)
		}
	}
	for _, l := range b.Links {
		if l.Href == "" {
			return b, fmt.Errorf("a link without address")
		}
	}
	return b, nil
}

func TestPagerDuty(t *testing.T) {
	for name, n := range samples() {
		t.Run(name, func(t *testing.T) {
			r := receive(t, plain, answerWith(202, `{"status":"success"}`))
			if err := senderOf(t, Config{PagerDuty: &PagerDutyConfig{URL: r.URL + "/v2/enqueue", RoutingKey: secretIn(t, testKey)}}).Send(context.Background(), n); err != nil {
				t.Fatal(err)
			}
			q := r.only(t)
			b, err := checkPagerDuty(q.body)
			if err != nil {
				t.Fatal(err)
			}
			want := map[Action]string{ActionTrigger: "trigger", ActionUpdate: "trigger", ActionAcknowledge: "acknowledge", ActionResolve: "resolve"}[n.Action]
			if q.path != "/v2/enqueue" || b.EventAction != want || b.DedupKey != n.Key || b.RoutingKey != testKey {
				t.Errorf("%s: %+v", q.path, b)
			}
			if b.EventAction != "trigger" {
				return
			}
			if b.Payload.Summary != Title(n) || b.Payload.Severity != n.Severity || !b.Payload.Timestamp.Equal(n.At) {
				t.Errorf("payload %+v", *b.Payload)
			}
			if len(n.Next) > 0 && b.Payload.CustomDetails["run_next"] != strings.Join(n.Next, "\n") {
				t.Errorf("details %v", b.Payload.CustomDetails)
			}
		})
	}
}

func TestPagerDutyRefusals(t *testing.T) {
	for _, c := range []struct {
		code  int
		body  string
		again bool
		want  string
	}{
		{400, `{"status":"invalid event","message":"Event object is invalid","errors":["'payload.source' is missing or blank"]}`, false, "payload.source"},
		{400, `{"status":"invalid event","message":"Event object is invalid","errors":["Invalid routing key"]}`, true, "see to the file of pagerduty.routing_key"},
		{413, "", false, "413"},
		{200, "", true, "answered 200"}, {401, "", true, "401"}, {403, "", true, "403"}, {404, "", true, "404"}, {429, "", true, "429"}, {503, "", true, "503"},
	} {
		t.Run(fmt.Sprint(c.code, c.again), func(t *testing.T) {
			r := receive(t, plain, answerWith(c.code, c.body))
			err := senderOf(t, Config{PagerDuty: &PagerDutyConfig{URL: r.URL, RoutingKey: secretIn(t, testKey)}}).Send(context.Background(), oneHost())
			wantFailure(t, err, c.again, 0, c.want)
		})
	}
}

// TestPagerDutySize: the largest notification that a queue keeps, in characters that JSON takes six bytes for, is beyond
// PagerDuty's bound and goes without its details.
func TestPagerDutySize(t *testing.T) {
	n := manyHosts()
	wide := strings.Repeat("<", maxRunes)
	n.Hosts, n.Facts, n.Did, n.Next, n.Labels = nil, nil, nil, nil, map[string]string{}
	for i := range maxHosts {
		n.Hosts, n.Facts, n.Did, n.Next = append(n.Hosts, wide), append(n.Facts, wide), append(n.Did, wide), append(n.Next, wide)
		n.Labels[fmt.Sprint("l", i)+wide[:8]] = wide
	}
	n.Action = ActionTrigger
	p := &pagerDuty{}
	body, err := p.encode(n, testKey)
	if err != nil {
		t.Fatal(err)
	}
	b, err := checkPagerDuty(body)
	if err != nil {
		t.Error(err)
	}
	if b.Payload.Summary != Title(n) || b.Payload.CustomDetails != nil {
		t.Errorf("%d bytes, summary %q, %d details", len(body), b.Payload.Summary, len(b.Payload.CustomDetails))
	}
}
