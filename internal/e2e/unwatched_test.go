package e2e

import (
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestPromiseUnwatched has the kernel refuse and throw out while no agent runs, as during an upgrade: the next start tells
// of all of it, as an incident of the past, and acts on nothing.
func TestPromiseUnwatched(t *testing.T) {
	_, ns := lowered(t)
	h := startHub(t)
	a := startAgent(t, plain(h.url))
	watched(t, a, ns.Inode)
	a.stop(t, syscall.SIGTERM)
	before := drops(t, ns)
	if _, err := ns.Burst(t.Context(), burst); err != nil {
		t.Fatal(err)
	}
	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	rose := drops(t, ns) - before
	a.start(t)
	var told []remediate.Incident
	testhost.Eventually(t, "it is told of", func() bool {
		told = nil
		for _, r := range h.of(remediate.EventIncidentClosed) {
			if i := r.Event.Data.(remediate.Incident); i.NetNS.Inode == ns.Inode {
				told = append(told, i)
			}
		}
		return len(told) > 0
	})
	if i := told[0]; len(told) != 1 || !i.Historical || !i.Verified || i.Drops+i.EarlyDrops != rose {
		t.Errorf("told %+v; the kernel's counters rose by %d", told, rose)
	}
	a.stop(t, syscall.SIGTERM)
	h.wait(t, remediate.EventAgentStopped, 2)
	for _, r := range h.of("") {
		if strings.HasPrefix(string(r.Event.Type), "step.") {
			t.Errorf("%s for what is past", r.Event.Type)
		}
	}
	wantLimit(t, limit)
	h.once(t)
	testhost.Held(t, "1.14 refused while no agent ran", "%d refused or thrown out by the kernel, %d told of, steps 0",
		rose, told[0].Drops+told[0].EarlyDrops)
}
