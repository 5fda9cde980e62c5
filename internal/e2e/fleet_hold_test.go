package e2e

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// order has somebody at the fleet's command line give an order.
func (h *hub) order(t *testing.T, args ...string) {
	t.Helper()
	said, err := exec.Command(filepath.Join(bin, "ctwarden-hub"), append(args, "--server", h.url)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, said)
	}
	t.Logf("%v: %s", args, said)
}

// TestFleetHoldStopsAStep has the fleet hold a host whose table then fills up: the kernel's limit stays, and the event names
// the fleet. The host's own release does not change that, the fleet's does.
func TestFleetHoldStopsAStep(t *testing.T) {
	_, ns := lowered(t)
	h := startHub(t)
	a := startAgent(t, plain(h.url))
	watched(t, a, ns.Inode)
	testhost.Eventually(t, "the agent is connected", func() bool { return a.status(t).NATS.Connected })
	held := func() bool { f := a.status(t).Fleet; return f != nil && f.Hold != nil }
	h.order(t, "hold", "--for", "1h", "--why", "change in the core")
	testhost.Eventually(t, "the fleet holds", held)
	a.wantCommand(t, 0, []string{"HELD BY THE FLEET until", "change in the core"}, "status")
	a.wantCommand(t, 0, []string{"there was no hold", "the fleet holds automatic writes", "ctwarden-hub unhold"}, "unhold")

	fill(t, ns)
	s := h.wait(t, remediate.EventStepRefused, 1).Data.(remediate.Step)
	if s.Reason != remediate.ReasonHeld {
		t.Errorf("refused %+v, want held", s)
	}
	wantWords(t, s.Error, "the fleet holds", "change in the core")
	wantLimit(t, limit)
	if !held() {
		t.Error("the host's own release ended the fleet's hold")
	}

	h.order(t, "unhold")
	testhost.Eventually(t, "the fleet has let go", func() bool { return !held() })
	if _, err := ns.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: limit}); err != nil {
		t.Fatal(err)
	}
	h.wait(t, remediate.EventStepApplied, 1)
}
