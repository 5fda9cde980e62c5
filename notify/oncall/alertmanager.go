package oncall

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/secret"
)

const (
	// endsAfter is for how many repeats an alert lasts that is not told again: as with Prometheus, four.
	endsAfter = 4
	// resolvedFor is how long the end of an alert is told again, for an Alertmanager that was away: as with Prometheus.
	resolvedFor = 15 * time.Minute
)

// alertmanager posts alerts to the API v2 of Prometheus' Alertmanager. One trouble is one alert, however many hosts it has:
// its labels are the same from trigger to resolve, so that Alertmanager makes one notification group of it.
//
// Alertmanager keeps alerts in memory alone and takes one for over that it is not told of again. So the queue repeats what
// is open, with an end four repeats ahead, and for 15 minutes what is over: one that was restarted knows all again within
// the time of one repeat.
type alertmanager struct {
	config  AlertmanagerConfig
	post    *poster
	members []member
}

// member is one Alertmanager of the cluster.
type member struct {
	base string
	// asked has room for the one post that is under way.
	asked chan struct{}
}

// grace is how long the others of a cluster are waited for once one of them has taken the alerts.
const grace = time.Second

func newAlertmanager(c AlertmanagerConfig, timeout time.Duration, o Options) (Sender, error) {
	if c.Resend == 0 {
		c.Resend = defaultResend
	}
	a := &alertmanager{config: c, post: newPoster(c.TLS, timeout, o)}
	for _, base := range c.URLs {
		a.members = append(a.members, member{base, make(chan struct{}, 1)})
	}
	return a, nil
}

// Repeat implements [Repeater].
func (a *alertmanager) Repeat() (every, after time.Duration) { return a.config.Resend, resolvedFor }

// alert is postableAlert of Alertmanager's API v2.
type alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    string            `json:"startsAt"`
	EndsAt      string            `json:"endsAt"`
	Generator   string            `json:"generatorURL,omitempty"`
}

// Send tells all members of the cluster at once. It is delivered where one has taken it, as with Prometheus: the others
// are told at the next repeat.
func (a *alertmanager) Send(ctx context.Context, n Notification) error {
	return a.toAll(ctx, a.alerts(n, time.Now()))
}

// Again implements [Repeater].
func (a *alertmanager) Again(ctx context.Context, all []Notification) error {
	var alerts []alert
	for _, n := range all {
		alerts = append(alerts, a.alerts(n, time.Now())...)
	}
	return a.toAll(ctx, alerts)
}

func (a *alertmanager) toAll(ctx context.Context, alerts []alert) error {
	header, err := a.header()
	if err != nil {
		return retryAfter(0, "%w", err)
	}
	body, err := json.Marshal(alerts)
	if err != nil {
		return permanent("encode the alerts: %w", err)
	}
	failed := make([]error, len(a.members))
	// told has room for every member, so that one that answers late waits for nobody.
	told := make(chan answered, len(a.members))
	asked := map[int]bool{}
	for i, m := range a.members {
		select {
		case m.asked <- struct{}{}:
			asked[i] = true
			// In no group: one that does not answer must not hold up those that do. It ends with ctx and the timeout.
			go func() {
				err := a.tell(ctx, m.base, body, header)
				<-m.asked
				told <- answered{i, err}
			}()
		default:
			failed[i] = retryAfter(0, "%s has not answered to what it was told before", hostOf(m.base))
		}
	}
	var late <-chan time.Time
	for len(asked) > 0 {
		select {
		case t := <-told:
			delete(asked, t.member)
			failed[t.member] = t.err
			if t.err == nil && late == nil {
				late = time.After(grace)
			}
		case <-late:
			for i := range asked {
				failed[i] = retryAfter(0, "%s did not answer while another one did", hostOf(a.members[i].base))
			}
			return together(failed)
		}
	}
	return together(failed)
}

// answered is what became of a post to a member.
type answered struct {
	member int
	err    error
}

// together makes one outcome of those of all members.
func together(failed []error) error {
	missed := errors.Join(failed...)
	var longest time.Duration
	again := false
	for _, err := range failed {
		if err == nil && missed != nil {
			return &partial{fmt.Errorf("not all Alertmanagers were told: %w", missed)}
		}
		if after, ok := Retryable(err); ok {
			again, longest = true, max(longest, after)
		}
	}
	switch {
	case missed == nil:
		return nil
	case again:
		return retryAfter(longest, "%w", missed)
	}
	return permanent("%w", missed)
}

// tell posts to one member. What it calls a bad request, or too large, is not better the second time.
func (a *alertmanager) tell(ctx context.Context, base string, body []byte, header http.Header) error {
	got, err := a.post.post(ctx, strings.TrimSuffix(base, "/")+"/api/v2/alerts", body, header)
	switch {
	case err != nil:
		return err
	case got.ok():
		return nil
	case got.code == http.StatusBadRequest, got.code == http.StatusRequestEntityTooLarge:
		return permanent("%w", got.refused(hostOf(base)))
	}
	return retryAfter(got.after, "%w", got.refused(hostOf(base)))
}

func (a *alertmanager) header() (http.Header, error) {
	header := http.Header{}
	switch {
	case a.config.Bearer != "":
		token, err := secret.Read(a.config.Bearer)
		if err != nil {
			return nil, fmt.Errorf("alertmanager.bearer: %w", err)
		}
		header.Set("Authorization", "Bearer "+line(token))
	case a.config.Username != "":
		password, err := secret.Read(a.config.Password)
		if err != nil {
			return nil, fmt.Errorf("alertmanager.password: %w", err)
		}
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(a.config.Username+":"+password)))
	}
	return header, nil
}

// alerts are the alert of the notification and, where the trouble may have been a warning before, the end of that alert:
// the severity is a label, so that it is another one to Alertmanager. An end of what it never knew means nothing to it.
func (a *alertmanager) alerts(n Notification, now time.Time) []alert {
	ends := now.Add(endsAfter * a.config.Resend)
	if n.Action == ActionResolve {
		ends = n.Until
	}
	all := []alert{a.alert(n, ends)}
	if n.Severity == "critical" && n.Action != ActionTrigger {
		warning := n
		warning.Severity = "warning"
		ends = n.At
		if n.Action == ActionResolve {
			ends = n.Until
		}
		all = append(all, a.alert(warning, ends))
	}
	return all
}

func (a *alertmanager) alert(n Notification, ends time.Time) alert {
	return alert{
		Labels: a.labels(n), Annotations: annotations(n), StartsAt: n.Since.UTC().Format(time.RFC3339Nano),
		EndsAt: latest(ends, n.Since).UTC().Format(time.RFC3339Nano), Generator: n.Link,
	}
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// labels name the alert. None is of one host, and the site is among them only where it is the trouble's own (its label), since
// a trouble may spread to other sites.
func (a *alertmanager) labels(n Notification) map[string]string {
	out := map[string]string{}
	for name, value := range n.Labels {
		out[labelName(name)] = value
	}
	maps.Copy(out, a.config.Labels)
	out["alertname"], out[groupLabel], out["severity"] = alertName(n), n.Key, n.Severity
	maps.DeleteFunc(out, func(_, value string) bool { return value == "" }) // Alertmanager takes an empty one for none
	return out
}

// alertName is the same for a table that fills and for one that is full, since the one becomes the other.
func alertName(n Notification) string {
	switch {
	case n.Test:
		return "CtwardenTest"
	case n.Cause == CauseSilent:
		return "CtwardenHostsSilent"
	case n.Cause == CauseBudget:
		return "CtwardenStepsHeld"
	}
	return "ConntrackTableFull"
}

// labelName makes a name of a label that every version of Alertmanager takes.
func labelName(name string) string {
	name = regexp.MustCompile(`[^a-zA-Z0-9_]`).ReplaceAllString(name, "_")
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		return "_" + name
	}
	return name
}

// annotations are the texts, which may change without making it another alert.
func annotations(n Notification) map[string]string {
	out := map[string]string{"summary": Title(n), "description": Text(n)}
	if n.Link != "" {
		out["link"] = n.Link
	}
	return out
}
