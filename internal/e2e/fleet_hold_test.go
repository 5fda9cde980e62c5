package e2e

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// order has the fleet give an order to all hosts, and waits until one host has carried it out.
func order(t *testing.T, nc *nats.Conn, c notify.Command) {
	t.Helper()
	answers, err := nc.SubscribeSync(notify.AnswerPrefix + ".>")
	if err != nil {
		t.Fatal(err)
	}
	defer answers.Unsubscribe()
	c.At, c.By = time.Now(), "the fleet's operator"
	body, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish(notify.CommandToAll(), body); err != nil {
		t.Fatal(err)
	}
	m, err := answers.NextMsg(30 * time.Second)
	if err != nil {
		t.Fatalf("no answer to %s: %v", c.Verb, err)
	}
	if a, err := notify.DecodeAnswer(m.Subject, m.Data); err != nil || !a.Done || a.ID != c.ID {
		t.Fatalf("%s: %+v, %v", c.Verb, a, err)
	}
}

// TestFleetHoldStopsAStep has the fleet hold a host whose table then fills up: the kernel's limit stays, and the event names
// the fleet. The host's own release does not change that, the fleet's does.
func TestFleetHoldStopsAStep(t *testing.T) {
	_, ns := lowered(t)
	h := startHub(t)
	a := startAgent(t, plain(h.url))
	watched(t, a, ns.Inode)
	nc, err := nats.Connect(h.url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	testhost.Eventually(t, "the agent is connected", func() bool { return a.status(t).NATS.Connected })
	order(t, nc, notify.Command{ID: "hold-1", Rev: 1, Verb: notify.CommandHold, Until: time.Now().Add(time.Hour), Why: "change in the core"})
	a.wantCommand(t, 0, []string{"HELD BY THE FLEET until", "the fleet's operator", "change in the core"}, "status")
	a.wantCommand(t, 0, []string{"there was no hold", "the fleet holds automatic writes", "ctwarden-hub unhold"}, "unhold")

	fill(t, ns)
	s := h.wait(t, remediate.EventStepRefused, 1).Data.(remediate.Step)
	if s.Reason != remediate.ReasonHeld {
		t.Errorf("refused %+v, want held", s)
	}
	wantWords(t, s.Error, "the fleet holds", "the fleet's operator", "change in the core")
	wantLimit(t, limit)

	order(t, nc, notify.Command{ID: "unhold-1", Rev: 2, Verb: notify.CommandUnhold})
	if _, err := ns.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: limit}); err != nil {
		t.Fatal(err)
	}
	h.wait(t, remediate.EventStepApplied, 1)
}
