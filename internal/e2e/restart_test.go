package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestKilledInAnIncident kills the agent while packets are refused, has more refused while it is away, and starts it
// again: it must be one incident, with all that was refused and every line of the kernel's, once.
func TestKilledInAnIncident(t *testing.T) {
	_, ns := lowered(t)
	r := newRig(t)
	a := startAgent(t, strings.Replace(r.config(remediateConfig), "mode: remediate", "mode: observe", 1))
	watched(t, a, ns.Inode)
	begin, refused := kernelClock(t), drops(t, ns)
	testhost.WaitForRatelimit(t)
	fill(t, ns, a)
	opened := live(t, r.hub, remediate.EventIncidentOpened)
	a.stop(t, syscall.SIGKILL)
	testhost.WaitForRatelimit(t)
	if _, err := ns.Burst(t.Context(), 5000); err != nil {
		t.Fatal(err)
	}
	a.start(t)
	r.hub.wait(t, remediate.EventAgentStarted, 2)
	if open := a.status(t).Incidents; len(open) != 1 || open[0].ID != opened.ID {
		t.Errorf("open after the restart: %+v, want %s", open, opened.ID)
	}
	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	closed := live(t, r.hub, remediate.EventIncidentClosed)
	if live(t, r.hub, remediate.EventIncidentOpened); closed.ID != opened.ID {
		t.Errorf("closed %s, opened %s", closed.ID, opened.ID)
	}
	if rose := drops(t, ns) - refused; closed.Drops+closed.EarlyDrops != rose {
		t.Errorf("%d refused and %d thrown out; the kernel's counters rose by %d", closed.Drops, closed.EarlyDrops, rose)
	}
	lines := printedSince(t, ns.Inode, begin)
	if lines < 11 || closed.Matches != lines || len(closed.PerSource) != 3 {
		t.Errorf("%d matches; the kernel printed %d lines", closed.Matches, lines)
	}
	for stream, n := range closed.PerSource {
		if n != lines {
			t.Errorf("%d matches of %s; the kernel printed %d lines", n, stream, lines)
		}
	}
	a.stop(t, syscall.SIGTERM)
	r.hub.once(t)
}

// printedSince counts the lines that the kernel has printed about a namespace since a time on its clock: the same
// number was another namespace's before.
func printedSince(t *testing.T, inode uint64, since float64) int {
	t.Helper()
	out, err := exec.Command("dmesg").Output()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(out)) {
		at := 0.0
		_, _ = fmt.Sscanf(line, "[%f]", &at) // a line without a time does not count
		if at >= since && strings.Contains(line, fmt.Sprintf("table full in netns %d,", inode)) {
			n++
		}
	}
	return n
}

// kernelClock is the time that the kernel puts before its lines, in seconds.
func kernelClock(t *testing.T) float64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano()).Seconds()
}

// TestRefusedWhileAway kills the agent as soon as it has read all there was, and has packets refused before the next
// start: every source tells of the lines, and of no older ones, although there is no lookback.
func TestRefusedWhileAway(t *testing.T) {
	_, ns := lowered(t)
	r := newRig(t)
	a := startAgent(t, r.config(remediateConfig))
	for _, s := range a.status(t).Sources {
		testhost.Eventually(t, "caught up and saved", func() bool { return a.source(t, s.Source, s.Path).CaughtUp })
	}
	r.hub.wait(t, remediate.EventAgentStarted, 1)
	a.stop(t, syscall.SIGKILL)
	begin := kernelClock(t)
	testhost.WaitForRatelimit(t)
	fill(t, ns)
	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	printed, since := printedSince(t, ns.Inode, begin), time.Now()
	testhost.Eventually(t, "the lines to be older than the next start", func() bool { return time.Since(since) > 1500*time.Millisecond })
	a.start(t)
	var told map[string]int
	testhost.Eventually(t, "every source tells", func() bool {
		told = map[string]int{}
		for _, r := range r.hub.of("") {
			var lines map[string]int
			switch d := r.Event.Data.(type) {
			case remediate.Incident:
				if r.Event.Type == remediate.EventIncidentClosed {
					lines = d.PerSource
				}
			case remediate.Unverified:
				lines = d.PerSource
			}
			for stream, n := range lines {
				told[stream] += n
			}
		}
		return len(told) == 3
	})
	for stream, n := range told {
		if n != printed {
			t.Errorf("%s: %d lines, want the %d that the kernel printed meanwhile", stream, n, printed)
		}
	}
}

// TestKilledAfterAStep kills the agent between a step and its outcome. The next start brings the step to its end, and
// takes no other.
func TestKilledAfterAStep(t *testing.T) {
	for _, c := range []struct {
		name  string
		saved bool // the step is in the state file, else perhaps in the intent alone, and the incident in neither
		when  func(h *hub) bool
	}{
		{"once it is published", true, func(h *hub) bool { return len(h.of(remediate.EventStepApplied)) > 0 }},
		{"once the kernel has the new limit", false, func(*hub) bool { return limitNow(t) > limit }},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, ns := lowered(t)
			h := startHub(t)
			a := startAgent(t, strings.Replace(plain(h.url), "close_after: 1s", "close_after: 4s", 1))
			watched(t, a, ns.Inode)
			fill(t, ns, a)
			testhost.Eventually(t, "the step is taken", func() bool { return c.when(h) })
			a.stop(t, syscall.SIGKILL)
			a.wantFile(t, 0)
			a.start(t)
			confirmed := h.wait(t, remediate.EventStepConfirmed, 1).Data.(remediate.Step)
			applied := h.wait(t, remediate.EventStepApplied, 1).Data.(remediate.Step)
			if applied.ID != confirmed.ID || applied.From != limit || confirmed.Persisted != a.persisted {
				t.Errorf("applied %+v\nconfirmed %+v", applied, confirmed)
			}
			wantLimit(t, 2*limit)
			a.wantFile(t, 2*limit)
			if c.saved {
				closed := live(t, h, remediate.EventIncidentClosed)
				if closed.ID != applied.IncidentID || closed.Outcome != remediate.OutcomeEffective {
					t.Errorf("closed %+v", closed)
				}
				live(t, h, remediate.EventIncidentOpened)
			}
			a.stop(t, syscall.SIGTERM)
			h.wait(t, remediate.EventAgentStopped, 1)
			if n := len(h.of(remediate.EventStepApplied)); n != 1 {
				t.Errorf("%d steps, want one", n)
			}
			h.once(t)
		})
	}
}

// TestStopInAnIncident stops the agent in the thick of it: within five seconds, with everything sent.
func TestStopInAnIncident(t *testing.T) {
	_, ns := lowered(t)
	h := startHub(t)
	a := startAgent(t, plain(h.url))
	watched(t, a, ns.Inode)
	fill(t, ns, a)
	a.said(t, 1, "incident.opened")
	if took := a.stop(t, syscall.SIGTERM); took > 5*time.Second {
		t.Errorf("stopped in %v", took)
	}
	a.said(t, 1, "agent.stopped")
	a.allReceived(t, h)
}

// TestSecondAgent starts an agent where another runs.
func TestSecondAgent(t *testing.T) {
	testhost.NeedRoot(t)
	a := startAgent(t, plain())
	a.wantCommand(t, 3, []string{"another agent is running on this state directory", a.dir + "/state"}, "run")
	other := filepath.Join(t.TempDir(), "other.yaml")
	writeFile(t, other, fmt.Sprintf("state_dir: %s\nruntime_dir: %s/run\nmetrics: {listen: \"\"}\n", t.TempDir(), a.dir), 0o644)
	said, code := ctwarden(t, "run", "--config", other)
	if code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	wantWords(t, said, "another agent runs here", "runtime_dir of its own")
	if !a.status(t).Running {
		t.Error("the first agent is gone")
	}
}
