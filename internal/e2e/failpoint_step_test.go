package e2e

import (
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// A stepKill is a stage of a step at which the agent is killed.
type stepKill struct {
	stage string
	// wrote is true where the kernel has the new limit at that stage; says is what the next start tells.
	wrote bool
	says  string
	// resize has the step resize the hash first.
	resize bool
	// then is a stage at which the next start is killed as well, before it has saved anything; empty: it is not.
	then string
	// brief leaves out the wait for the step's outcome in the short form: it is the same as at a stage beside it.
	brief bool
}

// TestPromiseKilledInAStep kills the agent at each stage of a step that refusals ask for, up to the removal of its
// intent, and starts it again.
func TestPromiseKilledInAStep(t *testing.T) {
	notWritten, written, saved := "was not written", "was set from 20000 to 40000", "was saved"
	kills := []stepKill{
		{stage: "intent", says: notWritten},
		{stage: "buckets", says: notWritten, resize: true, brief: true},
		{stage: "first_key", wrote: true, says: written},
		{stage: "both_keys", wrote: true, says: written, then: "judged", brief: true},
		{stage: "read_back", wrote: true, says: written, then: "before_commit", brief: true},
		{stage: "outcome", wrote: true, says: written, brief: true},
		{stage: "before_commit", wrote: true, says: written},
		{stage: "after_commit", wrote: true, says: saved},
		{stage: "before_forget", wrote: true, says: saved, brief: true},
		{stage: "after_forget", wrote: true, brief: true},
	}
	done := 0
	for _, k := range kills {
		t.Run(k.stage, func(t *testing.T) { k.run(t); done++ })
	}
	testhost.Held(t, "3.1 killed in a step",
		"killed at %d stages of a step: kernel, journal of steps and events agree after each, and no step was taken twice", done)
}

func (k stepKill) run(t *testing.T) {
	_, ns := lowered(t)
	h := startHub(t)
	a := newFailing(t, plain(h.url))
	starts := 1
	if k.resize {
		a.smallHash(t, 4096) // carries 32,768 entries
		starts++
	}
	a.start(t, until(k.stage)...)
	watched(t, a, ns.Inode)
	h.wait(t, remediate.EventAgentStarted, starts)
	fill(t, ns, a)
	a.killed(t)
	if k.wrote {
		wantLimit(t, 2*limit)
	} else {
		wantLimit(t, limit)
		if _, err := ns.Burst(t.Context(), 2000); err != nil { // refused while the agent is away
			t.Fatal(err)
		}
	}
	if k.then != "" {
		a.startUntilKilled(t, k.then)
	}
	a.start(t)
	h.started(t, starts+1, k.says)
	applied := h.wait(t, remediate.EventStepApplied, 1).Data.(remediate.Step)
	if opened := incidents(h.of(remediate.EventIncidentOpened)); len(opened) != 1 || opened[0].ID != applied.IncidentID {
		t.Errorf("opened %+v; the step is %+v", opened, applied)
	}
	if !k.brief || testhost.Long() {
		k.outcome(t, h, a, applied, ns)
	}
	a.agree(t, h, 2*limit)
	steps := a.status(t).Steps
	if n := len(h.steps(remediate.EventStepApplied)); n != 1 || k.wrote && len(steps) != 1 || !k.wrote && len(steps) != 2 {
		t.Errorf("%d steps were told of; the journal has %+v", n, steps)
	}
	a.stop(t, syscall.SIGTERM)
	h.once(t)
}

// outcome waits for the step's, and for the end of its incident.
func (k stepKill) outcome(t *testing.T, h *hub, a *agentProcess, applied remediate.Step, ns *testkernel.Namespace) {
	t.Helper()
	confirmed := h.wait(t, remediate.EventStepConfirmed, 1).Data.(remediate.Step)
	if confirmed.ID != applied.ID || confirmed.Outcome != remediate.OutcomeEffective || confirmed.Persisted != a.persisted {
		t.Errorf("applied %+v\nconfirmed %+v", applied, confirmed)
	}
	a.wantFile(t, 2*limit)
	closed := live(t, h, remediate.EventIncidentClosed)
	if rose := drops(t, ns); closed.ID != applied.IncidentID || closed.Drops+closed.EarlyDrops != rose {
		t.Errorf("closed %+v; the kernel refused %d", closed, rose)
	}
}

// TestPromiseKilledAroundAcknowledgement kills the agent after it has published what its outbox held, before and after
// the outbox is told.
func TestPromiseKilledAroundAcknowledgement(t *testing.T) {
	done := 0
	for _, stage := range []string{"before_ack", "after_ack"} {
		t.Run(stage, func(t *testing.T) { killedAtAck(t, stage); done++ })
	}
	testhost.Held(t, "3.2 killed around an acknowledgement",
		"killed at %d stages between publication and acknowledgement: every event was delivered once", done)
}

func killedAtAck(t *testing.T, stage string) {
	_, ns := lowered(t)
	address := freeAddress(t)
	a := newFailing(t, plain("nats://"+address))
	a.start(t)
	watched(t, a, ns.Inode)
	fill(t, ns, a)
	a.said(t, 1, "step.applied")
	testhost.Eventually(t, "start, incident and step are in the outbox", func() bool { return a.status(t).Outbox.Events >= 3 })
	a.stop(t, syscall.SIGKILL)
	h := startHubAt(t, address, t.TempDir())
	a.startUntilKilled(t, stage)
	testhost.Eventually(t, "the hub has what was sent", func() bool { return len(h.of("")) >= 3 })
	a.start(t)
	h.wait(t, remediate.EventStepConfirmed, 1)
	h.wait(t, remediate.EventAgentStarted, 2)
	live(t, h, remediate.EventIncidentOpened)
	a.agree(t, h, 2*limit)
	if n := len(h.of(remediate.EventStepApplied)); n != 1 {
		t.Errorf("%d steps were told of, want one", n)
	}
	a.wantFile(t, 2*limit)
	a.stop(t, syscall.SIGTERM)
	h.once(t)
}
