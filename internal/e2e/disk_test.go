package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// diskFault is one way in which the disk of state_dir fails.
type diskFault struct {
	name string
	// fail breaks the disk and returns what mends it.
	fail func(t *testing.T, d *scratchDisk) (mend func())
	// problem is what is then said.
	problem string
	// steady: no change is saved. A disk that is full may still take one for which the file has room.
	steady bool
	// long: in the long form only.
	long bool
}

func diskFull(t *testing.T, d *scratchDisk) func() { return fillUp(t, d.dir) }

// failing has the device refuse what it has not written before.
func failing(t *testing.T, d *scratchDisk) func() { return fillUp(t, filepath.Dir(d.image)) }

func frozen(t *testing.T, d *scratchDisk) func() { return d.freeze(t) }

func readOnly(t *testing.T, d *scratchDisk) func() {
	d.run(t, "mount", "-o", "remount,ro", d.dir)
	return func() { d.run(t, "mount", "-o", "remount,rw", d.dir) }
}

func broken(t *testing.T, d *scratchDisk) func() {
	d.breakDown(t)
	return func() { d.replace(t) }
}

// TestPromiseDiskFailsWhileRunning has the disk of state_dir fail under the agent, with an incident while it does.
func TestPromiseDiskFailsWhileRunning(t *testing.T) {
	for _, c := range []diskFault{
		{"full", diskFull, "no space left", false, false},
		{"frozen", frozen, "has not answered", true, false},
		{"failing device", failing, "write state", false, false},
		{"read-only after an error", broken, "read-only file system", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newDiskRig(t)
			r.agent.start(t)
			watched(t, r.agent, r.ns.Inode)
			r.hub.wait(t, remediate.EventAgentStarted, 1)
			mend := c.fail(t, r.disk)
			r.incident(t, c)
			mend()
			r.saved(t, "5.1 "+c.name+" while running")
		})
	}
}

// TestPromiseDiskFailsAtTheStart is the same with an agent that never had a disk.
func TestPromiseDiskFailsAtTheStart(t *testing.T) {
	for _, c := range []diskFault{
		{"full", diskFull, "no space left", true, false},
		{"frozen", frozen, "has not answered", true, false},
		{"read-only", readOnly, "read-only file system", true, true},
	} {
		if c.long && !testhost.Long() {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			r := newDiskRig(t)
			mend := c.fail(t, r.disk)
			r.agent.start(t)
			r.agent.said(t, 1, "started without a state file")
			watched(t, r.agent, r.ns.Inode)
			r.incident(t, c)
			mend()
			r.saved(t, "5.1 "+c.name+" at the start")
		})
	}
}

// diskRig is an agent whose state_dir is a disk that can fail.
type diskRig struct {
	ns    *testkernel.Namespace
	hub   *hub
	agent *agentProcess
	disk  *scratchDisk
}

func newDiskRig(t *testing.T) diskRig {
	t.Helper()
	_, ns := lowered(t)
	r := diskRig{ns: ns, hub: startHub(t)}
	r.agent = newAgent(t, t.TempDir(), plain(r.hub.url))
	r.disk = newScratchDisk(t, filepath.Join(r.agent.dir, "state"))
	return r
}

// incident plays one, with a step that proves effective, while the disk takes nothing. All of it must be received
// meanwhile, and what is wrong must be said.
func (r diskRig) incident(t *testing.T, c diskFault) {
	t.Helper()
	fill(t, r.ns, r.agent)
	applied := r.hub.wait(t, remediate.EventStepApplied, 1).Data.(remediate.Step)
	r.hub.wait(t, remediate.EventStepConfirmed, 1)
	if err := r.ns.Flush(); err != nil {
		t.Fatal(err)
	}
	closed := live(t, r.hub, remediate.EventIncidentClosed)
	if applied.IncidentID != closed.ID {
		t.Errorf("applied %+v\nclosed %+v", applied, closed)
	}
	wantLimit(t, 2*limit)
	testhost.Eventually(t, "the log says why", func() bool {
		_, why, found := strings.Cut(r.agent.output.String(), "state not saved\t")
		return found && strings.Contains(why, c.problem)
	})
	if !c.steady {
		return
	}
	s := r.agent.status(t)
	if s.State.Saved || !strings.Contains(s.State.Problem, c.problem) || s.Outbox.Dropped != 0 {
		t.Errorf("state %+v, outbox %+v; want it not saved because of %q", s.State, s.Outbox, c.problem)
	}
	r.agent.wantCommand(t, 0, []string{"state not saved since", c.problem}, "status")
	r.agent.said(t, 1, "state not saved")
}

// saved waits until all is on the disk, and starts the agent again on it.
func (r diskRig) saved(t *testing.T, promise string) {
	t.Helper()
	mended := time.Now()
	testhost.Eventually(t, "all is saved", func() bool {
		s := r.agent.status(t)
		return s.State.Saved && s.Outbox.Unsaved == 0 && s.Outbox.Events == 0
	})
	took := time.Since(mended)
	testhost.Eventually(t, "the log says so", func() bool { // which comes a moment after the status
		return strings.Contains(r.agent.output.String(), "state saved again")
	})
	if took := r.agent.stop(t, syscall.SIGTERM); took > 5*time.Second {
		t.Errorf("stopped in %v", took)
	}
	r.agent.allReceived(t, r.hub)
	events := len(r.hub.of(""))
	r.agent.start(t)
	s := r.agent.status(t)
	if len(s.Steps) != 1 || s.Steps[0].Outcome != remediate.OutcomeEffective ||
		len(s.Incidents) != 0 || !s.State.Saved || s.Outbox.Dropped != 0 {
		t.Errorf("after the restart: steps %+v, incidents %+v, state %+v, outbox %+v", s.Steps, s.Incidents, s.State, s.Outbox)
	}
	r.hub.wait(t, remediate.EventAgentStopped, 1)
	r.hub.once(t)
	testhost.Held(t, promise, "an incident and a step meanwhile; %d of %d events received, each once; all on the disk %v after it was back",
		events, events, took.Round(10*time.Millisecond))
}

// TestPromiseReadOnlyDiskIsRead starts the agent on the state of an earlier run that can be read and not written: it goes
// on from that, and sends what the earlier run could not.
func TestPromiseReadOnlyDiskIsRead(t *testing.T) {
	_, ns := lowered(t)
	address := freeAddress(t)
	a := newAgent(t, t.TempDir(), plain("nats://"+address))
	d := newScratchDisk(t, filepath.Join(a.dir, "state"))
	a.start(t)
	watched(t, a, ns.Inode)
	fill(t, ns, a)
	a.said(t, 1, "step.confirmed")
	a.stop(t, syscall.SIGTERM)
	first := a.published()
	mend := readOnly(t, d)
	a.start(t)
	s := a.status(t)
	if s.Outbox.Events < len(first) || len(s.Steps) != 1 {
		t.Errorf("outbox %+v, steps %+v; want what the first run left", s.Outbox, s.Steps)
	}
	h := startHubAt(t, address, t.TempDir())
	h.wait(t, remediate.EventAgentStarted, 2)
	mend()
	testhost.Eventually(t, "all is saved", func() bool {
		s := a.status(t)
		return s.State.Saved && s.Outbox.Events == 0
	})
	a.stop(t, syscall.SIGTERM)
	want := len(first) + len(a.published())
	testhost.Eventually(t, "all is received", func() bool { return len(h.of("")) >= want })
	h.once(t)
	if got := len(h.of("")); got != want {
		t.Errorf("%d events received, want %d", got, want)
	}
	testhost.Held(t, "5.2 state on a read-only disk", "%d events and a step of the run before were gone on with, %d of %d received, each once",
		len(first), want, want)
}

// TestPromiseStopsWithFrozenDisk stops the agent while its disk is frozen. The kernel keeps a process that waits for
// such a disk until that answers; but all else of it must be over, and said.
func TestPromiseStopsWithFrozenDisk(t *testing.T) {
	r := newDiskRig(t)
	r.agent.start(t)
	r.hub.wait(t, remediate.EventAgentStarted, 1)
	thaw := r.disk.freeze(t)
	fill(t, r.ns, r.agent)
	r.hub.wait(t, remediate.EventStepApplied, 1)
	begin := time.Now()
	if err := r.agent.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.hub.wait(t, remediate.EventAgentStopped, 1)
	testhost.Eventually(t, "the agent has exited", func() bool { return exited(t, r.agent.cmd.Process.Pid) })
	took := time.Since(begin)
	if took > 5*time.Second {
		t.Errorf("stopped in %v", took)
	}
	thaw()
	<-r.agent.ended
	r.agent.allReceived(t, r.hub)
	testhost.Held(t, "5.3 stop with a frozen disk", "stopped in %v, %d events sent before it", took.Round(10*time.Millisecond), len(r.hub.of("")))
}

// exited tells whether a process is through, be it that the kernel still waits for threads of it that a disk holds up,
// which may be its first.
func exited(t *testing.T, pid int) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, behind, _ := strings.Cut(string(stat), ") "); !strings.ContainsAny(behind[:1], "ZXD") {
			return false
		}
	}
	return true
}
