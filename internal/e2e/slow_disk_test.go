package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestPromiseSlowDiskAtTheStart kills the agent in an incident, leaves it an outbox full of events and lines in its log
// file, and starts it on a cold disk that reads a few pages a second, as after a reboot while NATS was away. It must go on
// from all of it before the file is read whole, and then send what waits in it.
func TestPromiseSlowDiskAtTheStart(t *testing.T) {
	_, ns := lowered(t)
	a := newObserver(t, "servers: ['nats://ADDRESS']", "incident: {close_after: 1s, pressure: 0.97}\n")
	address := freeAddress(t)
	a.replaceInConfig(t, "ADDRESS", address)
	writeFile(t, filepath.Join(a.dir, "kern.log"), "what was there before\n", 0o644)
	d := newScratchDiskOf(t, filepath.Join(a.dir, "state"), 64)
	waited := a.prefill(t, testhost.Amount(6_000, 15_000), steps)
	a.start(t)
	watched(t, a, ns.Inode)
	fill(t, ns, a)
	a.said(t, 1, "incident.opened")
	var open string
	testhost.Eventually(t, "the incident is saved", func() bool {
		s := a.status(t)
		if len(s.Incidents) == 1 {
			open = s.Incidents[0].ID
		}
		return open != "" && s.State.Saved && s.Outbox.Unsaved == 0 && s.Outbox.Events == len(waited)+len(a.published())
	})
	a.stop(t, syscall.SIGKILL)
	first := len(a.published())
	a.oldLines(t, 5)

	d.cold(t)
	q := newThrottle(t, d)
	q.to(t, "40000")
	begin := time.Now()
	a.start(t, q.wrap()...)
	ready := time.Since(begin)
	a.said(t, 1, "started before the state file could be used")
	a.said(t, 1, "going on in a log file")
	if s := a.status(t); len(s.Incidents) != 1 || s.Incidents[0].ID != open {
		t.Errorf("open %+v, want %s", s.Incidents, open)
	}
	h := startHubAt(t, address, t.TempDir())
	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	if closed := live(t, h, remediate.EventIncidentClosed); closed.ID != open {
		t.Errorf("closed %s, want %s", closed.ID, open)
	}
	a.said(t, 2, "5 lines of old records") // opened and closed
	if s := a.status(t); s.State.Saved || !strings.Contains(s.State.Problem, "still being read") || len(h.of(remediate.EventStepApplied)) > 0 {
		t.Errorf("state %+v, %d events of the file sent: it was read before the test had seen what it wants to see",
			s.State, len(h.of(remediate.EventStepApplied)))
	}
	q.to(t, "")
	testhost.Eventually(t, "all is saved and sent", func() bool {
		s := a.status(t)
		return s.State.Saved && s.Outbox.Events == 0
	})
	a.said(t, 1, "state file read whole")
	if s := a.status(t); s.Outbox.Dropped != 0 || strings.Contains(a.output.String(), "not followed") {
		t.Errorf("outbox %+v, said:\n%s", s.Outbox, a.output)
	}
	if took := a.stop(t, syscall.SIGTERM); took > 5*time.Second {
		t.Errorf("stopped in %v", took)
	}
	got := (&place{bare: h.url}).stored(t)
	want := len(waited) + first + len(a.published())
	a.eachOnce(t, got, waited, want)
	testhost.Held(t, "5.10 slow disk at the start", "ready after %v at 40 kB/s, 5 of 5 lines and 1 of 1 open incidents gone on with; %d of %d events received, each once",
		ready.Round(10*time.Millisecond), len(got), want)
}

// steps makes every event a step.applied, which is never dropped.
func steps(int) remediate.EventType { return remediate.EventStepApplied }

func (a *agentProcess) replaceInConfig(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(a.config)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, a.config, strings.ReplaceAll(string(text), from, to), 0o600)
}

// oldLines has the kernel's lines of an hour ago arrive in the agent's file.
func (a *agentProcess) oldLines(t *testing.T, n int) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(a.dir, "kern.log"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range n {
		at := time.Now().Add(-time.Hour + time.Duration(i)*100*time.Millisecond)
		if _, err := fmt.Fprintf(f, "%s %s kernel: %s\n", at.Format(time.RFC3339Nano), hostname(t), message); err != nil {
			t.Fatal(err)
		}
	}
}

// eachOnce fails the test unless so many events arrived, each once, with all that had waited.
func (a *agentProcess) eachOnce(t *testing.T, got, waited []string, want int) {
	t.Helper()
	got = slices.Sorted(slices.Values(got))
	if n := len(slices.Compact(slices.Clone(got))); len(got) != want || n != want {
		t.Errorf("%d events arrived, %d of them different, want %d", len(got), n, want)
	}
	for _, id := range waited {
		if _, found := slices.BinarySearch(got, id); !found {
			t.Fatalf("%s is lost", id)
		}
	}
}

// TestPromiseStopsWithSlowDisk stops an agent at several moments of such a start.
func TestPromiseStopsWithSlowDisk(t *testing.T) {
	a := newObserver(t, "servers: ['nats://"+freeAddress(t)+"']", "")
	d := newScratchDiskOf(t, filepath.Join(a.dir, "state"), 64)
	waited := a.prefill(t, 6_000, steps)
	q := newThrottle(t, d)
	slowest := time.Duration(0)
	begun := func() bool { return a.hasOpen(t, "state.db") }
	cases := []struct {
		name, rate string
		until      func() bool
		words      string // then said
	}{
		{"in the first pages", "4096", begun, "nothing was begun"},
		{"in the first pages or waiting for the rest", "40000", begun, ""},
		{"at work", "40000", func() bool { return strings.Contains(a.output.String(), "agent ready") }, "agent.stopped"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			q.to(t, "")
			d.cold(t)
			q.to(t, c.rate)
			a.process = launch(t, nil, append(q.wrap(), filepath.Join(bin, "ctwarden"), "run", "--config", a.config)...)
			testhost.Eventually(t, c.name, c.until)
			took := a.stop(t, syscall.SIGTERM)
			if code := a.cmd.ProcessState.ExitCode(); took > 5*time.Second || code != 0 {
				t.Errorf("stopped in %v with code %d", took, code)
			}
			wantWords(t, a.output.String(), c.words)
			slowest = max(slowest, took)
		})
	}
	q.to(t, "")
	if left := a.left(t); len(left) < len(waited) || !slices.Equal(left[:len(waited)], waited) {
		t.Errorf("%d events are left, want the %d of before", len(left), len(waited))
	}
	testhost.Held(t, "5.10 stop with a slow disk", "stopped at %d moments of a slow start, in %v at the slowest", len(cases), slowest.Round(10*time.Millisecond))
}

// hasOpen tells whether the process has a file of that name open.
func (p *process) hasOpen(t *testing.T, name string) bool {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && filepath.Base(to) == name {
			return true
		}
	}
	return false
}
