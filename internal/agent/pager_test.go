package agent

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

var pagedAt = time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)

// newPager tells "night" of what is critical and "day" of warnings too. Its queues do not run: what waits is what was told.
func newPager(t *testing.T, st pagerState) *pager {
	t.Helper()
	p := &pager{site: "lab", host: "hv1", st: st, log: zap.NewNop(), came: make(chan struct{}, 1)}
	for name, severity := range map[string]remediate.Severity{"night": remediate.SeverityCritical, "day": remediate.SeverityWarning} {
		c := oncall.Config{Name: name, Webhook: &oncall.WebhookConfig{URL: "http://127.0.0.1:1/", Secret: "/nowhere"}}
		q, err := oncall.Open(c, oncall.Options{}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		p.senders = append(p.senders, &pageSender{name: name, severity: severity, queue: q})
	}
	p.resume(pagedAt)
	return p
}

// pagedHost is what the tracker of a host says, for the pager.
type pagedHost struct {
	t    *testing.T
	p    *pager
	now  time.Time
	n    int
	open map[string]remediate.Incident
	told map[string]int // by sender: how many were looked at
}

func newPagedHost(t *testing.T) *pagedHost {
	return &pagedHost{t: t, p: newPager(t, pagerState{}), now: pagedAt, open: map[string]remediate.Incident{}, told: map[string]int{}}
}

func (h *pagedHost) id() string {
	h.n++
	return fmt.Sprintf("ev-%d", h.n)
}

// incident has an incident of a namespace open, change or close.
func (h *pagedHost) incident(ns string, typ remediate.EventType, severity remediate.Severity, drops uint64) {
	in := remediate.Incident{ID: "in-" + ns, Severity: severity, Verified: true, OpenedAt: h.now, Drops: drops, NetNS: remediate.NetNS{Name: ns}, Max: 1000, Count: 1000}
	if was, ok := h.open[ns]; ok {
		in.OpenedAt = was.OpenedAt
	}
	h.open[ns] = in
	if typ == remediate.EventIncidentClosed {
		at := h.now
		in.ClosedAt = &at
		delete(h.open, ns)
	}
	h.p.take(remediate.Event{ID: h.id(), Type: typ, Time: h.now, Data: in})
}

func (h *pagedHost) step(typ remediate.EventType, s remediate.Step) {
	h.p.take(remediate.Event{ID: h.id(), Type: typ, Time: h.now, Data: s})
}

// turn ends a turn of the loop, and wants these to be told, as "sender action severity".
func (h *pagedHost) turn(want ...string) {
	h.t.Helper()
	h.p.turn(func() (open []remediate.Incident) {
		for _, in := range h.open {
			open = append(open, in)
		}
		return open
	})
	var got []string
	for _, s := range h.p.senders {
		all := h.p.st.Senders[s.name].Waiting
		for _, n := range all[h.told[s.name]:] {
			got = append(got, fmt.Sprintf("%s %s %s", s.name, n.Action, n.Severity))
		}
		h.told[s.name] = len(all)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		h.t.Fatalf("at %v told %q, want %q", h.now.Sub(pagedAt), got, want)
	}
}

// last is what a sender was told last.
func (h *pagedHost) last(sender string) oncall.Notification {
	h.t.Helper()
	all := h.p.st.Senders[sender].Waiting
	if len(all) == 0 {
		h.t.Fatalf("%s was told of nothing", sender)
	}
	return all[len(all)-1]
}

const (
	opened  = remediate.EventIncidentOpened
	updated = remediate.EventIncidentUpdated
	closed  = remediate.EventIncidentClosed
	warns   = remediate.SeverityWarning
	refuses = remediate.SeverityCritical
)

// TestOnePageForATrouble follows one from the warning to its end.
func TestOnePageForATrouble(t *testing.T) {
	h := newPagedHost(t)
	h.incident("init", opened, warns, 0)
	h.turn("day trigger warning")
	h.turn()
	h.now = h.now.Add(time.Minute)
	h.incident("init", updated, warns, 0)
	h.turn() // nothing turned worse, and a minute is too soon

	h.now = h.now.Add(time.Minute)
	h.incident("init", updated, refuses, 7)
	h.step(remediate.EventStepApplied, remediate.Step{ID: "s1", IncidentID: "in-init", At: h.now, From: 1000, To: 2000, Reason: remediate.ReasonFull})
	h.turn("day update critical", "night trigger critical")
	first := h.last("night")
	if first.Key != "in-init" || first.Refused != 7 || len(first.Did) != 1 || !strings.Contains(first.Did[0], "1000 to 2000") || !first.Since.Equal(pagedAt) ||
		!slices.Equal(first.Hosts, []string{"hv1"}) {
		t.Errorf("%+v", first)
	}

	h.now = h.now.Add(2 * time.Second)
	h.step(remediate.EventStepConfirmed, remediate.Step{ID: "s1", IncidentID: "in-init", At: h.now, From: 1000, To: 2000, Reason: remediate.ReasonFull, Outcome: remediate.OutcomeIneffective})
	h.turn("day update critical", "night update critical")

	h.now = h.now.Add(time.Hour)
	h.incident("init", closed, refuses, 9)
	h.turn("day resolve critical", "night resolve critical")
	if n := h.last("night"); n.Key != "in-init" || n.Refused != 9 || n.Until.IsZero() || len(n.Did) != 1 || !strings.Contains(n.Did[0], "did not help") {
		t.Errorf("%+v", n)
	}
	if h.p.st.Trouble != nil {
		t.Errorf("it is not over: %+v", h.p.st.Trouble)
	}
}

// TestOnePageForManyNamespaces: one limit, one page, over when the last of them is.
func TestOnePageForManyNamespaces(t *testing.T) {
	h := newPagedHost(t)
	for i := range 100 {
		h.incident(fmt.Sprint("ns", i), opened, refuses, 10)
	}
	h.turn("day trigger critical", "night trigger critical")
	if n := h.last("night"); n.Refused != 1000 || n.HostsTotal != 1 {
		t.Errorf("%+v", n)
	}
	for i := range 100 {
		h.now = h.now.Add(time.Second)
		h.incident(fmt.Sprint("ns", i), closed, refuses, 10)
		if i < 99 {
			h.turn()
		}
	}
	h.turn("day resolve critical", "night resolve critical")
	if n := h.last("night"); n.Refused != 1000 {
		t.Errorf("%d refused, want those of all", n.Refused)
	}
}

// TestUpdatesBecomeRare: an incident that lasts is told of ever less often.
func TestUpdatesBecomeRare(t *testing.T) {
	h := newPagedHost(t)
	h.incident("init", opened, refuses, 1)
	h.turn("day trigger critical", "night trigger critical")
	before := h.told["night"]
	for range 24 * 60 {
		h.now = h.now.Add(time.Minute)
		h.incident("init", updated, refuses, 1)
		h.p.turn(func() []remediate.Incident { return []remediate.Incident{h.open["init"]} })
		for _, s := range h.p.senders { // each gets through at once
			for _, n := range h.p.st.Senders[s.name].Waiting[h.told[s.name]:] {
				h.p.tookPlace(oncall.Outcome{ID: n.ID, Key: n.Key, Sender: s.name, Result: oncall.ResultDelivered})
				if s.name == "night" {
					before++
				}
			}
		}
		h.p.book()
	}
	if updates := before - 1; updates < 20 || updates > 35 {
		t.Errorf("%d updates in a day", updates)
	}
}

// TestNobodyIsToldOf what is past, or is none of an incident.
func TestNobodyIsToldOf(t *testing.T) {
	h := newPagedHost(t)
	h.p.take(remediate.Event{ID: "a", Type: opened, Time: h.now, Data: remediate.Incident{ID: "old", Historical: true, Severity: refuses}})
	h.p.take(remediate.Event{ID: "b", Type: closed, Time: h.now, Data: remediate.Incident{ID: "old", Historical: true, Severity: refuses}})
	h.p.take(remediate.Event{ID: "c", Type: closed, Time: h.now, Data: remediate.Incident{ID: "unknown", Severity: refuses}})
	h.step(remediate.EventStepApplied, remediate.Step{From: 1, To: 2, Reason: remediate.ReasonManual})
	h.p.take(remediate.Event{ID: "d", Type: remediate.EventLimitChanged, Time: h.now, Data: remediate.LimitChange{Old: 1, New: 2}})
	h.turn()
}

// TestWhatWaitsIsToldAfterARestart under the same ids, and what went through is not.
func TestWhatWaitsIsToldAfterARestart(t *testing.T) {
	h := newPagedHost(t)
	h.incident("init", opened, refuses, 1)
	h.turn("day trigger critical", "night trigger critical")
	sent := h.last("day")
	h.p.tookPlace(oncall.Outcome{ID: sent.ID, Key: sent.Key, Sender: "day", Result: oncall.ResultDelivered})
	saved := h.p.turn(func() []remediate.Incident { return nil })
	if saved == nil {
		t.Fatal("the outcome is not saved")
	}
	var st pagerState
	if err := json.Unmarshal(saved, &st); err != nil {
		t.Fatal(err)
	}
	waiting := h.last("night")
	h.p, h.told = newPager(t, st), map[string]int{}
	h.turn("night trigger critical")
	if got := h.last("night"); got.ID != waiting.ID || got.Key != waiting.Key {
		t.Errorf("waited %+v, tells %+v", waiting, got)
	}
	h.now = h.now.Add(time.Hour)
	h.incident("init", closed, refuses, 1)
	h.turn("day resolve critical", "night resolve critical")
}

// TestATroubleOfWhichNothingIsLeft is closed: the run before did not come to save its end.
func TestATroubleOfWhichNothingIsLeft(t *testing.T) {
	h := newPagedHost(t)
	h.incident("init", opened, refuses, 1)
	h.turn("day trigger critical", "night trigger critical")
	h.open = map[string]remediate.Incident{}
	h.now = h.now.Add(time.Minute)
	h.p.end(h.now)
	h.turn("day resolve critical", "night resolve critical")
	h.p.end(h.now)
	h.turn()
}
