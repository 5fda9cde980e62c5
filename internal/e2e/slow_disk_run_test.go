package e2e

import (
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// slowWrites is how many bytes a second the slow disk takes: a commit is some 16,000.
	slowWrites = "6000"
	// mostSlower is how much later a step may be with such a disk: what the machine that runs the tests does beside.
	mostSlower = 50 * time.Millisecond
)

// TestPromiseSlowDiskWhileRunning has a table fill three times over while the disk of state_dir takes every commit, and
// each for seconds; and the same on a disk that is fast.
func TestPromiseSlowDiskWhileRunning(t *testing.T) {
	var fast, slow stepsOnDisk
	t.Run("fast", func(t *testing.T) { fast = stepsOn(t, "") })
	t.Run("slow", func(t *testing.T) { slow = stepsOn(t, slowWrites) })
	if t.Failed() {
		return
	}
	if slow.reaction > fast.reaction+mostSlower {
		t.Errorf("a step came %v after the refusals at the median, and %v on a fast disk", slow.reaction, fast.reaction)
	}
	if slow.saved < time.Second/2 {
		t.Errorf("all was saved %v after the last step: the disk was not slow", slow.saved)
	}
	testhost.Held(t, "5.11 slow disk in an incident", "at %s bytes/s the last step was saved after %.1f s (on a fast disk %.2f s); a step %.1f ms "+
		"after the kernel's refusals at the median (%.1f ms); %d events received, each once; stopped in %v", slowWrites, slow.saved.Seconds(),
		fast.saved.Seconds(), slow.reaction.Seconds()*1e3, fast.reaction.Seconds()*1e3, slow.events, slow.stopped.Round(10*time.Millisecond))
}

// stepsOnDisk is what was seen on one disk.
type stepsOnDisk struct {
	reaction, saved, stopped time.Duration
	events                   int
}

func stepsOn(t *testing.T, rate string) (seen stepsOnDisk) {
	_, ns := lowered(t)
	h := startHub(t)
	a := newAgent(t, t.TempDir(), plain(h.url))
	d := newScratchDisk(t, filepath.Join(a.dir, "state"))
	q := newThrottle(t, d)
	a.start(t, q.wrap()...)
	watched(t, a, ns.Inode)
	h.wait(t, remediate.EventAgentStarted, 1)
	testhost.Eventually(t, "the start is saved", func() bool { return a.status(t).State.Saved })
	q.writesTo(t, rate)
	defer q.writesTo(t, "")

	var reactions []time.Duration
	for n, to := range []int{2 * limit, 4 * limit, 8 * limit} {
		reactions = append(reactions, a.refused(t, h, ns, to/2+5000, n+1))
		wantLimit(t, uint64(to))
	}
	slices.Sort(reactions)
	seen.reaction = reactions[len(reactions)/2]
	stepped := time.Now()
	testhost.Eventually(t, "the last step is saved", func() bool {
		s := a.status(t)
		return s.State.Saved && s.Outbox.Unsaved == 0
	})
	seen.saved = time.Since(stepped)
	h.wait(t, remediate.EventStepConfirmed, 1)
	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	live(t, h, remediate.EventIncidentClosed)
	if seen.stopped = a.stop(t, syscall.SIGTERM); seen.stopped > 5*time.Second {
		t.Errorf("stopped in %v", seen.stopped)
	}
	q.writesTo(t, "")
	a.start(t)
	h.wait(t, remediate.EventAgentStopped, 1)
	h.wait(t, remediate.EventAgentStarted, 2)
	a.agree(t, h, 8*limit)
	if steps := a.status(t).Steps; len(steps) != 3 {
		t.Errorf("after the restart: %+v", steps)
	}
	a.stop(t, syscall.SIGTERM)
	h.wait(t, remediate.EventAgentStopped, 2)
	h.once(t) // what was not saved in time is told again by the next start, under its id
	seen.events = len(h.of(""))
	for typ, n := range map[remediate.EventType]int{remediate.EventStepApplied: 3, remediate.EventIncidentOpened: 1, remediate.EventIncidentClosed: 1,
		remediate.EventAgentStarted: 2, remediate.EventAgentStopped: 2} {
		if got := len(h.of(typ)); got != n {
			t.Errorf("%d %s, want %d", got, typ, n)
		}
	}
	return seen
}

// refused fills the table while the agent stands still, so that the kernel refuses, and returns how long after the agent
// goes on its nth step was taken.
func (a *agentProcess) refused(t *testing.T, h *hub, ns *testkernel.Namespace, flows, n int) time.Duration {
	t.Helper()
	a.freeze(t)
	before := drops(t, ns)
	if _, err := ns.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: flows}); err != nil {
		t.Fatal(err)
	}
	if drops(t, ns) == before {
		t.Error("nothing was refused")
	}
	thawed := time.Now()
	a.thaw(t)
	h.wait(t, remediate.EventStepApplied, n)
	at := h.of(remediate.EventStepApplied)[n-1].Event.Time
	return max(at.Sub(thawed), 0)
}
