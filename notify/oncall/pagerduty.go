package oncall

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/secret"
)

const (
	// The bounds of an event, after PagerDuty's documentation of the Events API v2.
	maxSummary   = 1024
	maxPagerDuty = 512 << 10
)

// pagerDuty sends events to PagerDuty's Events API v2. A trouble is one alert there, by its dedup_key; an update is another
// trigger of it, which wakes nobody anew.
type pagerDuty struct {
	config PagerDutyConfig
	post   *poster
	client string
}

func newPagerDuty(c PagerDutyConfig, timeout time.Duration, o Options) (Sender, error) {
	if c.URL == "" {
		c.URL = DefaultPagerDutyURL
	}
	return &pagerDuty{config: c, post: newPoster(c.TLS, timeout, o), client: o.Program}, nil
}

type pagerDutyEvent struct {
	RoutingKey string            `json:"routing_key"`
	Action     string            `json:"event_action"`
	DedupKey   string            `json:"dedup_key"`
	Payload    *pagerDutyPayload `json:"payload,omitempty"`
	Links      []pagerDutyLink   `json:"links,omitempty"`
	Client     string            `json:"client,omitempty"`
	ClientURL  string            `json:"client_url,omitempty"`
}

type pagerDutyPayload struct {
	Summary   string            `json:"summary"`
	Source    string            `json:"source"`
	Severity  string            `json:"severity"`
	Timestamp string            `json:"timestamp"`
	Component string            `json:"component,omitempty"`
	Group     string            `json:"group,omitempty"`
	Class     string            `json:"class,omitempty"`
	Details   map[string]string `json:"custom_details,omitempty"`
}

type pagerDutyLink struct {
	Href string `json:"href"`
	Text string `json:"text"`
}

// Send makes one event. PagerDuty says 202 when it has taken it; 400 that it never will.
func (p *pagerDuty) Send(ctx context.Context, n Notification) error {
	key, err := secret.Read(p.config.RoutingKey)
	if err != nil {
		return retryAfter(0, "pagerduty.routing_key: %w", err)
	}
	body, err := p.encode(n, key)
	if err != nil {
		return permanent("encode the event: %w", err)
	}
	got, err := p.post.post(ctx, p.config.URL, body, http.Header{})
	if err != nil {
		return err
	}
	refused := got.refused(hostOf(p.config.URL))
	switch {
	case got.code == http.StatusAccepted:
		return nil
	case got.code == http.StatusBadRequest && strings.Contains(got.body, "routing"):
		// The key is the configuration's, not the message's: with another one in the file it will be taken.
		return retryAfter(0, "%w; see to the file of pagerduty.routing_key", refused)
	case got.code == http.StatusBadRequest, got.code == http.StatusRequestEntityTooLarge:
		return permanent("%w", refused)
	}
	return retryAfter(got.after, "%w", refused)
}

// encode makes the event, without its details where it would be too large with them.
func (p *pagerDuty) encode(n Notification, key string) ([]byte, error) {
	n = n.bounded()
	ev := pagerDutyEvent{RoutingKey: key, Action: pagerDutyAction(n.Action), DedupKey: n.Key, Client: p.client, ClientURL: n.Link}
	if ev.Action == "trigger" {
		ev.Payload = payload(n)
		if n.Link != "" {
			ev.Links = []pagerDutyLink{{Href: n.Link, Text: "This trouble at ctwarden-hub"}}
		}
	}
	body, err := json.Marshal(ev)
	if err == nil && len(body) > maxPagerDuty {
		ev.Payload.Details = nil
		body, err = json.Marshal(ev)
	}
	return body, err
}

func pagerDutyAction(a Action) string {
	switch a {
	case ActionAcknowledge, ActionResolve:
		return string(a)
	}
	return "trigger"
}

func payload(n Notification) *pagerDutyPayload {
	p := &pagerDutyPayload{
		Summary: cut(Title(n), maxSummary), Source: source(n), Severity: "warning", Timestamp: n.At.UTC().Format(time.RFC3339Nano),
		Component: "nf_conntrack", Group: n.Site, Class: n.Cause, Details: map[string]string{},
	}
	if n.Severity == "critical" {
		p.Severity = "critical"
	}
	for _, s := range sections(n) {
		p.Details[strings.ToLower(strings.ReplaceAll(s.name, " ", "_"))] = strings.Join(s.lines, "\n")
	}
	for name, value := range n.Labels {
		p.Details["label "+name] = value
	}
	return p
}

// source is what PagerDuty calls the affected system: the host, or the site where there are several.
func source(n Notification) string {
	switch {
	case n.HostsTotal <= 1 && len(n.Hosts) == 1:
		return n.Hosts[0]
	case n.Site != "":
		return n.Site
	}
	return "ctwarden"
}
