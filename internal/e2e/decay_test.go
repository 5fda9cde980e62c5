package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestPromiseDecay has the agent raise the limit twice and step back once after a minute of an empty table, the shortest that
// the configuration takes. The sysctl.d file follows, and what is left of the steps can be taken back by hand.
func TestPromiseDecay(t *testing.T) {
	_, ns := lowered(t)
	h := startHub(t)
	a := startAgent(t, strings.Replace(plain(h.url), "max_insert_rate: 1000,", "max_insert_rate: 1000, decay: 1m,", 1))
	watched(t, a, ns.Inode)
	fill(t, ns)
	h.wait(t, remediate.EventStepApplied, 1)
	// As slowly as that a second step is enough for the speed measured.
	if _, err := ns.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: 2 * limit, Rate: limit / 3}); err != nil {
		t.Fatal(err)
	}
	second := h.wait(t, remediate.EventStepApplied, 2).Data.(remediate.Step)
	confirmed := h.wait(t, remediate.EventStepConfirmed, 1).Data.(remediate.Step)
	if confirmed.ID != second.ID { // the first was effective by itself, before the second was due
		confirmed = h.wait(t, remediate.EventStepConfirmed, 2).Data.(remediate.Step)
	}
	if confirmed.To != 4*limit || confirmed.Persisted == "" {
		t.Fatalf("confirmed %+v", confirmed)
	}
	a.wantFile(t, 4*limit)
	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	h.wait(t, remediate.EventIncidentClosed, 1)
	empty := time.Now()
	back := waitLong(t, h, remediate.EventStepReverted)
	took := time.Since(empty)
	if back.From != 4*limit || back.To != 2*limit || back.Reason != remediate.ReasonDecay || back.IncidentID != "" {
		t.Errorf("stepped back %+v", back)
	}
	if took < 50*time.Second { // the incident was closed a moment before it was heard of
		t.Errorf("after %v already", took)
	}
	wantLimit(t, 2*limit)
	testhost.Eventually(t, "the file follows", func() bool { return strings.Contains(a.output.String(), "rewritten") })
	a.wantFile(t, 2*limit)
	a.wantCommand(t, 0, []string{"limit taken back from 40000 to 20000"}, "revert")
	wantLimit(t, limit)
	a.wantFile(t, 0)
	if n := len(h.of(remediate.EventLimitChanged)); n != 0 {
		t.Errorf("%d limit.changed: the agent takes its own step for somebody else's", n)
	}
	h.once(t)
	testhost.Held(t, "9.2 decay", "%d → %d after %v of quiet, the file with it", back.From, back.To, took.Round(time.Second))
}

// waitLong waits for an event that takes more than a minute to come.
func waitLong(t *testing.T, h *hub, typ remediate.EventType) remediate.Step {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(2 * time.Minute)
	defer end.Stop()
	for {
		select {
		case <-tick.C:
			if found := h.of(typ); len(found) > 0 {
				return found[0].Event.Data.(remediate.Step)
			}
		case <-end.C:
			t.Fatalf("no %s in two minutes", typ)
		}
	}
}
