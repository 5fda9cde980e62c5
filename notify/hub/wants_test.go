package hub

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/hub/web"
	"github.com/ctwarden/ctwarden/remediate"
)

// stepped is an event of an automatic step.
func stepped(t *testing.T, site, host string) notify.Outgoing {
	t.Helper()
	at := time.Now().UTC()
	ev, err := notify.Encode(notify.Identity{Host: host, Site: site, Version: "v1"}, remediate.Event{
		ID: "ev-step-" + site + "-" + host, Type: remediate.EventStepApplied, Time: at,
		Data: remediate.Step{ID: "step-" + host, IncidentID: fmt.Sprintf("inc-%s-%s-1", site, host), At: at, From: 1000, To: 2000,
			Reason: remediate.ReasonFull, Mode: remediate.ModeRemediate},
	})
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// TestBudgetHoldsTheFleet has the fleet take more steps than an hour may have: all hosts are ordered to hold, once, also by
// the next hub.
func TestBudgetHoldsTheFleet(t *testing.T) {
	srv, nc, js := newLab(t)
	s := Settings{Fleet: fleet.Config{GroupBy: []string{fleet.GroupBySite}, StepsPerHour: 3}}
	first := startHub(t, "first", nc, s)
	leads(t, first)
	orders := make(chan notify.Command, 100)
	agentOf(t, nc, "gva", "a", func(c notify.Command) notify.Answer { orders <- c; return notify.Answer{Done: true} })
	for i := range 2 {
		publish(t, nc, began("gva", fmt.Sprint("h", i), 1), stepped(t, "gva", fmt.Sprint("h", i)))
	}
	settled(t, js)
	if st := first.Status(); st.Budget.Used != 2 || st.Budget.Spent || len(st.Holds) != 0 {
		t.Errorf("below the budget: %+v, holds %+v", st.Budget, st.Holds)
	}
	publish(t, nc, began("gva", "h2", 1), stepped(t, "gva", "h2"))
	c := <-orders
	if c.Verb != notify.CommandHold || c.By != hubName || c.Until.Before(time.Now().Add(50*time.Minute)) || c.Until.After(time.Now().Add(70*time.Minute)) {
		t.Errorf("order %+v", c)
	}
	testhost.Eventually(t, "it is shown", func() bool {
		st := first.Status()
		return st.Budget.Spent && len(st.Holds) == 1 && st.Holds[0].By == hubName
	})
	first.stop()
	nc2, _ := connect(t, srv.URL())
	second := startHub(t, "second", nc2, s)
	leads(t, second)
	if st := second.Status(); !st.Budget.Spent || len(st.Holds) != 1 || len(orders) != 0 {
		t.Errorf("the next hub: %+v, holds %+v, %d more orders", st.Budget, st.Holds, len(orders))
	}
}

// TestBudgetIsReleased: the hub's own hold is released by who asks for that, is not ordered again while it would have lasted,
// also by the next hub, and leaves a person's hold of all hosts alone, as that leaves it.
func TestBudgetIsReleased(t *testing.T) {
	srv, nc, js := newLab(t)
	s := Settings{Fleet: fleet.Config{GroupBy: []string{fleet.GroupBySite}, StepsPerHour: 3}}
	first := startHub(t, "first", nc, s)
	leads(t, first)
	orders := make(chan notify.Command, 100)
	agentOf(t, nc, "gva", "a", func(c notify.Command) notify.Answer { orders <- c; return notify.Answer{Done: true} })
	putState(t, nc, "gva", "a", stateOf("gva", "a", 5, nil))
	for i := range 3 {
		publish(t, nc, began("gva", fmt.Sprint("h", i), 1), stepped(t, "gva", fmt.Sprint("h", i)))
	}
	settled(t, js)
	if c := <-orders; c.Verb != notify.CommandHold || !strings.Contains(c.Why, "ctwarden-hub unhold --budget") {
		t.Fatalf("order %+v", c)
	}
	do := func(a web.Action) (web.Result, error) {
		a.By = "ada"
		return first.Do(t.Context(), a)
	}
	if _, err := do(web.Action{Verb: web.VerbUnhold}); !errors.Is(err, web.ErrNotFound) || !contains(err, "ctwarden-hub unhold --budget") {
		t.Errorf("released as a person's: %v", err)
	}
	if _, err := do(web.Action{Verb: web.VerbHold, Budget: true}); !errors.Is(err, web.ErrInvalid) {
		t.Errorf("ordered as the hub's own: %v", err)
	}
	if _, err := do(web.Action{Verb: web.VerbHold, Why: "change", Until: time.Now().Add(2 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	<-orders
	if r, err := do(web.Action{Verb: web.VerbUnhold, Budget: true}); err != nil || !strings.Contains(r.Text, "not held again") {
		t.Errorf("released: %+v, %v", r, err)
	}
	if c := <-orders; c.Verb != notify.CommandHold || c.By != "ada" {
		t.Errorf("a person's hold is not told anew: %+v", c)
	}
	if st := first.Status(); st.Budget.Spent || len(st.Holds) != 1 || st.Holds[0].By != "ada" || st.Holds[0].Budget {
		t.Errorf("holds %+v", st.Holds)
	}
	if _, err := do(web.Action{Verb: web.VerbUnhold}); err != nil {
		t.Error(err)
	}
	if c := <-orders; c.Verb != notify.CommandUnhold {
		t.Errorf("order %+v", c)
	}
	pause(t.Context(), 4*tickEvery)
	first.stop()
	nc2, _ := connect(t, srv.URL())
	second := startHub(t, "second", nc2, s)
	leads(t, second)
	pause(t.Context(), 4*tickEvery)
	if st := second.Status(); len(st.Holds) != 0 || len(orders) != 0 || st.Budget.Used != 3 {
		t.Errorf("the next hub: %+v, holds %+v, %d more orders", st.Budget, st.Holds, len(orders))
	}
	if _, err := second.Do(t.Context(), web.Action{Verb: web.VerbUnhold, By: "ada", Budget: true}); !errors.Is(err, web.ErrNotFound) {
		t.Errorf("released twice: %v", err)
	}
}

// TestRolloutReachesWhoAwaitsIt has two hosts that leave their mode to the fleet, and one that does not.
func TestRolloutReachesWhoAwaitsIt(t *testing.T) {
	_, nc, _ := newLab(t)
	s := Settings{Fleet: fleet.Config{
		Labels:  []fleet.LabelRule{{Host: "canary-*", Labels: map[string]string{"stage": "1"}}},
		Rollout: []fleet.Selector{{Labels: map[string]string{"stage": "1"}}},
	}}
	h := startHub(t, "one", nc, s)
	leads(t, h)
	orders := make(chan string, 100)
	for _, host := range []string{"canary-1", "canary-2", "other"} {
		agentOf(t, nc, "gva", host, func(c notify.Command) notify.Answer {
			orders <- fmt.Sprint(host, " ", c.Verb, " ", c.Mode)
			return notify.Answer{Done: true}
		})
	}
	for _, host := range []string{"other", "canary-2", "canary-1"} {
		putState(t, nc, "gva", host, stateOf("gva", host, 5, &notify.FleetState{Awaits: host != "canary-2"}))
	}
	if got := <-orders; got != "canary-1 mode remediate" {
		t.Errorf("got %q", got)
	}
	putState(t, nc, "gva", "canary-1", stateOf("gva", "canary-1", 5, &notify.FleetState{Awaits: true, Rev: 1, Mode: remediate.ModeRemediate}))
	testhost.Eventually(t, "the rollout is counted", func() bool {
		r := h.Status().Rollout
		return r.Hosts == 2 && r.Remediating == 1 && r.Unwilling == 1
	})
	// The label goes, and the host with it.
	s.Fleet.Labels[0].Host = "canary-2"
	h.Configure(s)
	putState(t, nc, "gva", "canary-1", stateOf("gva", "canary-1", 6, &notify.FleetState{Awaits: true, Rev: 1, Mode: remediate.ModeRemediate}))
	if got := <-orders; got != "canary-1 mode observe" {
		t.Errorf("got %q", got)
	}
	if len(orders) > 0 {
		t.Errorf("one more: %q", <-orders)
	}
}
