package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestRaiseAndRevert has a running agent raise the limit by hand in two steps, and take them back one by one.
func TestRaiseAndRevert(t *testing.T) {
	lock, ns := lowered(t)
	h := startHub(t)
	a := startAgent(t, plain(h.url))
	watched(t, a, ns.Inode)

	a.wantCommand(t, 1, []string{"refused: at_ceiling"}, "raise", "--to", "200001")
	a.wantCommand(t, 1, []string{"refused: no_pressure", "never lowers"}, "raise", "--to", "19999")
	a.wantCommand(t, 1, []string{"refused: no_pressure", "20000 already"}, "raise", "--to", "20000")
	a.wantCommand(t, 2, []string{"--to 0"}, "raise", "--to", "0")
	wantLimit(t, limit)

	for i, to := range []uint64{30000, 50000} {
		a.wantCommand(t, 0, []string{fmt.Sprintf("to %d", to)}, "raise", "--to", fmt.Sprint(to))
		wantLimit(t, to)
		confirmed := h.wait(t, remediate.EventStepConfirmed, i+1).Data.(remediate.Step)
		applied := h.wait(t, remediate.EventStepApplied, i+1).Data.(remediate.Step)
		for _, s := range []remediate.Step{applied, confirmed} {
			if s.To != to || s.Reason != remediate.ReasonManual || s.IncidentID != "" ||
				s.Keys["net.netfilter.nf_conntrack_max"] != to || s.Keys["net.nf_conntrack_max"] != to {
				t.Errorf("step %+v, want one by hand to %d", s, to)
			}
		}
		if applied.ID != confirmed.ID || confirmed.Persisted != a.persisted || confirmed.Outcome != remediate.OutcomeEffective {
			t.Errorf("applied %+v\nconfirmed %+v", applied, confirmed)
		}
		a.wantFile(t, to)
	}

	// Not below what is in use.
	if _, err := ns.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: 25000}); err != nil {
		t.Fatal(err)
	}
	a.counted(t, ns.Inode, 25000)
	a.wantCommand(t, 1, []string{"25000 entries are in use"}, "revert")
	a.wantCommand(t, 1, []string{"25000 entries are in use"}, "revert", "--all")
	wantLimit(t, 50000)
	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	a.counted(t, ns.Inode, 0)

	// Not over somebody else's value.
	if err := lock.SetMax(60000); err != nil {
		t.Fatal(err)
	}
	a.wantCommand(t, 1, []string{"refused: foreign_change", "60000"}, "revert")
	a.wantFile(t, 50000)
	if err := lock.SetMax(50000); err != nil {
		t.Fatal(err)
	}

	a.wantCommand(t, 0, []string{"from 50000 to 30000", "rewritten"}, "revert")
	wantLimit(t, 30000)
	a.wantFile(t, 30000)
	a.wantCommand(t, 0, []string{"from 30000 to 20000", "removed"}, "revert")
	wantLimit(t, limit)
	a.wantFile(t, 0)
	a.wantCommand(t, 1, []string{"refused:", "20000"}, "revert")
	for i, want := range [][2]uint64{{50000, 30000}, {30000, 20000}} {
		s := h.wait(t, remediate.EventStepReverted, i+1).Data.(remediate.Step)
		if s.From != want[0] || s.To != want[1] || s.Reason != remediate.ReasonManual {
			t.Errorf("reverted %+v, want %v", s, want)
		}
	}
	h.once(t)
}

// counted waits until the agent has read that many entries in a namespace.
func (a *agentProcess) counted(t *testing.T, inode, count uint64) {
	t.Helper()
	testhost.Eventually(t, fmt.Sprintf("%d entries are counted", count), func() bool {
		for _, n := range a.status(t).NetNS {
			if n.Inode == inode {
				return n.Count == count
			}
		}
		return false
	})
}

// TestWithoutAgent does the same where no agent runs; the agent that is started later tells of it.
func TestWithoutAgent(t *testing.T) {
	lowered(t)
	h := startHub(t)
	a := newAgent(t, t.TempDir(), plain(h.url))
	a.wantCommand(t, 1, []string{"refused: at_ceiling"}, "raise", "--to", "200001")
	a.wantCommand(t, 1, []string{"refused: no_pressure"}, "raise", "--to", "10000")
	a.wantCommand(t, 0, []string{"to 30000"}, "raise", "--to", "30000")
	wantLimit(t, 30000)
	a.wantFile(t, 30000)
	said, code := a.command(t, "raise", "--to", "40000", "-o", "json")
	var reply agent.Reply
	if err := json.Unmarshal([]byte(said), &reply); err != nil || code != 0 || !reply.Done || reply.Step == nil ||
		reply.Step.From != 30000 || reply.Step.To != 40000 {
		t.Errorf("exit code %d, %v: %s", code, err, said)
	}
	wantLimit(t, 40000)
	a.wantFile(t, 40000)
	a.wantCommand(t, 0, []string{"from 40000 to 20000", "removed"}, "revert", "--all")
	wantLimit(t, limit)
	a.wantFile(t, 0)
	a.wantCommand(t, 0, []string{"no agent"}, "status")

	a.start(t)
	h.wait(t, remediate.EventAgentStarted, 1)
	var got []remediate.EventType
	for _, r := range h.of("") {
		got = append(got, r.Event.Type)
	}
	want := []remediate.EventType{
		remediate.EventStepApplied, remediate.EventStepConfirmed, remediate.EventStepApplied,
		remediate.EventStepConfirmed, remediate.EventStepReverted, remediate.EventAgentStarted,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("received %v, want %v", got, want)
	}
	if steps := a.status(t).Steps; len(steps) != 3 {
		t.Errorf("the journal of steps has %+v", steps)
	}
}

// TestHold stops the agent's hand while packets are refused, and lets it go.
func TestHold(t *testing.T) {
	_, ns := lowered(t)
	h := startHub(t)
	a := startAgent(t, plain(h.url))
	watched(t, a, ns.Inode)
	a.wantCommand(t, 0, []string{"held", "until \"ctwarden unhold\""}, "hold")
	a.wantCommand(t, 0, []string{"HELD"}, "status")
	fill(t, ns, a)
	refused := h.wait(t, remediate.EventStepRefused, 1).Data.(remediate.Step)
	if refused.Reason != remediate.ReasonHeld || refused.To != 2*limit {
		t.Errorf("refused %+v", refused)
	}
	wantLimit(t, limit)
	// An operator may all the same.
	a.wantCommand(t, 0, []string{"to 20001"}, "raise", "--to", "20001")
	h.wait(t, remediate.EventStepApplied, 1)

	a.wantCommand(t, 0, []string{"released"}, "unhold")
	a.wantCommand(t, 0, []string{"there was no hold"}, "unhold")
	// In an incident the agent reads so often that it may well be faster than the burst.
	if _, err := ns.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: limit + 5000}); err != nil {
		t.Fatal(err)
	}
	applied := h.wait(t, remediate.EventStepApplied, 2).Data.(remediate.Step)
	if applied.IncidentID != refused.IncidentID ||
		applied.Reason != remediate.ReasonFull && applied.Reason != remediate.ReasonPressure && applied.Reason != remediate.ReasonForecast {
		t.Errorf("after unhold %+v", applied)
	}
	h.wait(t, remediate.EventStepConfirmed, 1)

	a.wantCommand(t, 2, []string{"--for 0s"}, "hold", "--for", "0s")
	a.wantCommand(t, 0, []string{"held: no automatic writes until 2"}, "hold", "--for", "4s")
	if a.status(t).Held == nil {
		t.Error("not held")
	}
	testhost.Eventually(t, "the hold ends by itself", func() bool { return a.status(t).Held == nil })
	a.wantCommand(t, 0, nil, "status")
	for _, s := range h.of(remediate.EventStepRefused) {
		if s.Event.Data.(remediate.Step).Reason != remediate.ReasonHeld {
			t.Errorf("refused %+v", s.Event.Data)
		}
	}
}

// TestNobodyMayNotOrder has an ordinary user turn to an agent that runs as root.
func TestNobodyMayNotOrder(t *testing.T) {
	testhost.NeedRoot(t)
	lock := testkernel.Hold(t)
	dir := testhost.PublicDir(t)
	a := newAgent(t, dir, plain())
	a.start(t)
	for _, args := range [][]string{{"raise", "--to", "300000"}, {"revert"}, {"hold"}, {"unhold"}} {
		args = append([]string{filepath.Join(bin, "ctwarden")}, append(args, "--config", a.config)...)
		said, code := runToEnd(t, append(asNobody[:len(asNobody):len(asNobody)], args...)...)
		if code != 3 {
			t.Errorf("%v: exit code %d, want 3", args[1:], code)
		}
		wantWords(t, said, "not permitted", "run as root")
	}
	args := append(asNobody[:len(asNobody):len(asNobody)], filepath.Join(bin, "ctwarden"), "status", "--config", a.config)
	if said, code := runToEnd(t, args...); code != 0 {
		t.Errorf("status: exit code %d", code)
	} else {
		wantWords(t, said, "not permitted", "nf_conntrack_max")
	}
	if _, err := os.Stat(filepath.Join(dir, "state", "hold")); err == nil {
		t.Error("held by nobody")
	}
	wantLimit(t, lock.Saved().Max)
}
