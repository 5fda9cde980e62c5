package e2e

import (
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestLoweredBeforeItWasPersisted has somebody take a step back before it is made to last.
func TestLoweredBeforeItWasPersisted(t *testing.T) {
	lock, _ := lowered(t)
	h := startHub(t)
	a := startAgent(t, plain(h.url))
	a.wantCommand(t, 0, nil, "raise", "--to", "40000")
	setMax(t, lock, 30000)
	confirmed := h.wait(t, remediate.EventStepConfirmed, 1).Data.(remediate.Step)
	if confirmed.Persisted != "" || !strings.Contains(confirmed.Error, "somebody else set the limit to 30000") {
		t.Errorf("confirmed %+v", confirmed)
	}
	a.wantFile(t, 0)
	wantLimit(t, 30000)
}

// TestForeignChange has somebody else write the limit, and then packets refused: whoever wrote has a reason, so the
// agent keeps its hand still for a while.
func TestForeignChange(t *testing.T) {
	lock, ns := lowered(t)
	setMax(t, lock, 30000)
	h := startHub(t)
	a := startAgent(t, strings.Replace(plain(h.url), "max_insert_rate: 1000,", "max_insert_rate: 1000, foreign_pause: 6s,", 1))
	watched(t, a, ns.Inode)
	setMax(t, lock, limit)
	change := h.wait(t, remediate.EventLimitChanged, 1).Data.(remediate.LimitChange)
	if change.Old != 30000 || change.New != limit {
		t.Errorf("changed %+v", change)
	}
	fill(t, ns, a)
	refused := h.wait(t, remediate.EventStepRefused, 1).Data.(remediate.Step)
	if refused.Reason != remediate.ReasonForeignChange || refused.From != limit || refused.Trigger != remediate.ReasonFull {
		t.Errorf("refused %+v", refused)
	}
	wantLimit(t, limit)
	// By hand it goes at once; the agent's own writes are no foreign changes.
	a.wantCommand(t, 0, nil, "raise", "--to", "20100")
	h.wait(t, remediate.EventStepConfirmed, 1)
	// The pause over, the next refusals are acted upon.
	testhost.Eventually(t, "a step after the pause", func() bool {
		if _, err := ns.Burst(t.Context(), 2000); err != nil {
			t.Fatal(err)
		}
		return len(h.of(remediate.EventStepApplied)) > 1
	})
	if s := h.wait(t, remediate.EventStepApplied, 2).Data.(remediate.Step); s.From != 20100 || s.Reason != remediate.ReasonFull {
		t.Errorf("applied %+v", s)
	}
	if n := len(h.of(remediate.EventLimitChanged)); n != 1 {
		t.Errorf("%d limit.changed, want one", n)
	}
	if n := len(h.of(remediate.EventStepRefused)); n != 1 {
		t.Errorf("%d step.refused, want one", n)
	}
}
