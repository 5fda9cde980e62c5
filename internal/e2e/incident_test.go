package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// limit is what the kernel's limit is lowered to; burst is more flows than fit.
	limit = 20000
	burst = 60000
)

// The agent is told that this host expects no more than a thousand new connections a second, so that it reads an
// empty table once a second, and a burst of some hundred thousand a second is refused before a reading sees it coming.
// The same goes for the high share of pressure.
const remediateConfig = `
mode: remediate
site: e2e
incident: {close_after: 4s, pressure: 0.97}
remediate: {ceiling: 200000, max_step: 2, max_insert_rate: 1000, persist_file: PERSIST}
nats: {servers: ["%s"]}
sources: {lookback: 0s, kmsg: {enabled: true}, journal: {enabled: true, directory: %s}, syslog: {enabled: true, files: [%s]}}
`

// rig is a host with all three sources, the limit lowered before the agent starts.
type rig struct {
	hub     *hub
	journal *testhost.Journald
	syslog  *testhost.Rsyslog
}

func newRig(t *testing.T) rig {
	t.Helper()
	return rig{hub: startHub(t), journal: testhost.StartJournald(t), syslog: testhost.StartRsyslog(t)}
}

func (r rig) config(format string) string {
	return fmt.Sprintf(format, r.hub.url, r.journal.Dir, r.syslog.File)
}

func TestIncidentInTheFirstNamespace(t *testing.T) {
	lock, ns := testkernel.First(t)
	incident(t, lock, ns, "init")
}

func TestIncidentInAnotherNamespace(t *testing.T) {
	testkernel.Require(t)
	lock := testkernel.Hold(t)
	ns := testkernel.Scratch(t)
	incident(t, lock, ns, ns.Name)
}

// incident plays one from the refused packet to the closing, and checks all that was said and done.
func incident(t *testing.T, lock *testkernel.Lock, ns *testkernel.Namespace, name string) {
	r := newRig(t)
	if err := lock.SetMax(limit); err != nil {
		t.Fatal(err)
	}
	a := startAgent(t, r.config(remediateConfig))
	r.hub.wait(t, remediate.EventAgentStarted, 1)
	watched(t, a, ns.Inode)
	testhost.WaitForRatelimit(t)
	before := drops(t, ns)
	a.freeze(t) // it would see the burst come, and step before
	sent, err := ns.Burst(t.Context(), burst)
	a.thaw(t)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("burst: %d let through, %d refused, %.0f a second", sent.Sent, sent.Refused, sent.PerSecond())

	opened := live(t, r.hub, remediate.EventIncidentOpened)
	applied := r.hub.wait(t, remediate.EventStepApplied, 1).Data.(remediate.Step)
	closed := live(t, r.hub, remediate.EventIncidentClosed)
	checkIncident(t, opened, closed, ns, name)
	// All that the kernel refused from the last reading before the incident on.
	if after := drops(t, ns); closed.Drops+closed.EarlyDrops != after-before {
		t.Errorf("incident says %d refused and %d thrown out; the kernel's counters rose by %d",
			closed.Drops, closed.EarlyDrops, after-before)
	}
	checkStep(t, r.hub, a, applied, opened.ID)
	r.hub.once(t)
	if took := a.stop(t, syscall.SIGTERM); took > 5*time.Second {
		t.Errorf("stopped in %v", took)
	}
}

// watched waits until the agent reads the namespace.
func watched(t *testing.T, a *agentProcess, inode uint64) {
	t.Helper()
	testhost.Eventually(t, "the namespace is watched", func() bool {
		for _, n := range a.status(t).NetNS {
			if n.Inode == inode {
				return true
			}
		}
		return false
	})
}

func drops(t *testing.T, ns *testkernel.Namespace) uint64 {
	t.Helper()
	refused, err := ns.Drops()
	if err != nil {
		t.Fatal(err)
	}
	early, err := ns.EarlyDrops()
	if err != nil {
		t.Fatal(err)
	}
	return refused + early
}

// live waits for the one incident event of a type that is not about old records.
func live(t *testing.T, h *hub, typ remediate.EventType) remediate.Incident {
	t.Helper()
	var found []remediate.Incident
	testhost.Eventually(t, string(typ), func() bool {
		found = nil
		for _, r := range h.of(typ) {
			if i := r.Event.Data.(remediate.Incident); !i.Historical {
				found = append(found, i)
			}
		}
		return len(found) > 0
	})
	if len(found) > 1 {
		t.Errorf("%d %s, want one", len(found), typ)
	}
	return found[0]
}

func checkIncident(t *testing.T, opened, closed remediate.Incident, ns *testkernel.Namespace, name string) {
	t.Helper()
	if opened.ID != closed.ID || !closed.Verified || closed.Severity != remediate.SeverityCritical {
		t.Errorf("opened %+v\nclosed %+v", opened, closed)
	}
	if closed.NetNS.Inode != ns.Inode || closed.NetNS.Name != name {
		t.Errorf("namespace %+v, want %d %s", closed.NetNS, ns.Inode, name)
	}
	if closed.Outcome != remediate.OutcomeEffective || closed.PeakCount < limit*97/100 {
		t.Errorf("outcome %q, peak %d", closed.Outcome, closed.PeakCount)
	}
	largest := 0
	for _, n := range closed.PerSource {
		largest = max(largest, n)
	}
	if len(closed.PerSource) != 3 || closed.Matches != largest || closed.Matches == 0 {
		t.Errorf("matches %d of %v, want the largest of three streams", closed.Matches, closed.PerSource)
	}
}

// checkStep checks the kernel, the file and the events after the incident.
func checkStep(t *testing.T, h *hub, a *agentProcess, applied remediate.Step, incident string) {
	t.Helper()
	steps := h.of(remediate.EventStepApplied)
	last := steps[len(steps)-1].Event.Data.(remediate.Step)
	want := fmt.Sprint(last.To)
	for _, key := range []string{"net/netfilter/nf_conntrack_max", "net/nf_conntrack_max"} {
		b, err := os.ReadFile("/proc/sys/" + key)
		if got := strings.TrimSpace(string(b)); err != nil || got != want {
			t.Errorf("%s = %s (%v), want %s", key, got, err, want)
		}
		if got := last.Keys[strings.ReplaceAll(key, "/", ".")]; got != last.To {
			t.Errorf("read back %s = %d, want %d", key, got, last.To)
		}
	}
	if applied.From != limit || applied.To != 2*limit || applied.Reason != remediate.ReasonFull || applied.IncidentID != incident {
		t.Errorf("first step %+v", applied)
	}
	final := h.wait(t, remediate.EventStepConfirmed, 1).Data.(remediate.Step)
	if final.Outcome != remediate.OutcomeEffective || final.Persisted != a.persisted {
		t.Errorf("confirmed %+v, want persisted in %s", final, a.persisted)
	}
	text, err := os.ReadFile(a.persisted)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"net.netfilter.nf_conntrack_max = " + want, "net.nf_conntrack_max = " + want, incident} {
		if !strings.Contains(string(text), line) {
			t.Errorf("%s lacks %q:\n%s", a.persisted, line, text)
		}
	}
	if info, err := os.Stat(a.persisted); err != nil || info.Mode() != 0o644 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}
