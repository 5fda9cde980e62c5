package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// unhelpful has a table refuse and the agent step, and then somebody shrink the kernel's hash, so that connections are
// refused on its long chains although the table has room. It returns once the step's outcome is told.
func unhelpful(t *testing.T, flows int) (*testkernel.Namespace, *hub, *agentProcess, remediate.Step) {
	t.Helper()
	_, ns := lowered(t)
	setBuckets(t, enough)
	h := startHub(t)
	a := startAgent(t, strings.Replace(plain(h.url), "ceiling: 200000", "ceiling: 200000, buckets: keep", 1))
	watched(t, a, ns.Inode)
	established := func(flows int) {
		if _, err := ns.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: flows}); err != nil {
			t.Fatal(err)
		}
	}
	a.freeze(t)
	established(limit)
	sendBurst(t, ns, 200)
	a.thaw(t)
	testhost.Eventually(t, "a step", func() bool { return limitNow(t) == 2*limit })
	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	setBuckets(t, 512) // two places an entry; the kernel refuses from 50 to 80 a chain on
	established(flows)
	testhost.Eventually(t, "the step's outcome", func() bool {
		sendBurst(t, ns, 10)
		return len(h.of(remediate.EventStepConfirmed)) > 0
	})
	s := h.wait(t, remediate.EventStepConfirmed, 1).Data.(remediate.Step)
	if s.Outcome != remediate.OutcomeIneffective || s.From != limit || s.To != 2*limit {
		t.Errorf("confirmed %+v", s)
	}
	wantWords(t, s.Error, "although there is room", "of them on hash chains too long: raise nf_conntrack_buckets")
	return ns, h, a, s
}

// staysWithOneStep goes on having connections refused for three seconds, in which no step may follow.
func (h *hub) staysWithOneStep(t *testing.T, ns *testkernel.Namespace) {
	t.Helper()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		sendBurst(t, ns, 2000)
	}
	if n := len(h.of(remediate.EventStepApplied)); n != 1 {
		t.Errorf("%d steps, want one", n)
	}
}

// TestStepThatDoesNotHelp has a step that does not help be undone, what else it may be be said, and no step follow.
func TestStepThatDoesNotHelp(t *testing.T) {
	ns, h, a, s := unhelpful(t, 13_000)
	back := h.wait(t, remediate.EventStepReverted, 1).Data.(remediate.Step)
	if back.Reason != remediate.ReasonIneffective || back.From != s.To || back.To != s.From {
		t.Errorf("reverted %+v", back)
	}
	wantLimit(t, limit)
	h.staysWithOneStep(t, ns)
	wantLimit(t, limit)
	a.wantFile(t, 0)
}

// TestStepThatDoesNotHelpIsInUse has a step that does not help stay, since what is in use would no longer fit, and says so.
func TestStepThatDoesNotHelpIsInUse(t *testing.T) {
	ns, h, a, s := unhelpful(t, limit)
	wantWords(t, s.Error, "not undone: ", "entries are in use, and the limit stays at least at ")
	h.staysWithOneStep(t, ns)
	wantLimit(t, 2*limit)
	a.wantFile(t, 0)
	if n := len(h.of(remediate.EventStepReverted)); n > 0 {
		t.Errorf("%d steps undone, want none", n)
	}
}
