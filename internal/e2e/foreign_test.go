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

// TestLoweredBeforeItWasPersisted has somebody take a step back before it is made to last.
func TestLoweredBeforeItWasPersisted(t *testing.T) {
	lock, _ := lowered(t)
	h := startHub(t)
	a := startAgent(t, plain(h.url))
	a.wantCommand(t, 0, nil, "raise", "--to", "40000")
	setMax(t, lock, 30000)
	confirmed := h.wait(t, remediate.EventStepConfirmed, 1).Data.(remediate.Step)
	if confirmed.Persisted != "" || !strings.Contains(confirmed.Error, "somebody else set the limit to 30000") {
		t.Errorf("confirmed %+v", confirmed)
	}
	a.wantFile(t, 0)
	wantLimit(t, 30000)
}

// TestForeignChange has somebody else write the limit, and then packets refused: whoever wrote has a reason, so the
// agent keeps its hand still for a while.
func TestForeignChange(t *testing.T) {
	lock, ns := lowered(t)
	setMax(t, lock, 30000)
	h := startHub(t)
	a := startAgent(t, strings.Replace(plain(h.url), "max_insert_rate: 1000,", "max_insert_rate: 1000, foreign_pause: 6s,", 1))
	watched(t, a, ns.Inode)
	setMax(t, lock, limit)
	change := h.wait(t, remediate.EventLimitChanged, 1).Data.(remediate.LimitChange)
	if change.Old != 30000 || change.New != limit {
		t.Errorf("changed %+v", change)
	}
	fill(t, ns, a)
	refused := h.wait(t, remediate.EventStepRefused, 1).Data.(remediate.Step)
	if refused.Reason != remediate.ReasonForeignChange || refused.From != limit || refused.Trigger != remediate.ReasonFull {
		t.Errorf("refused %+v", refused)
	}
	wantLimit(t, limit)
	// By hand it goes at once; the agent's own writes are no foreign changes.
	a.wantCommand(t, 0, nil, "raise", "--to", "20100")
	h.wait(t, remediate.EventStepConfirmed, 1)
	// The pause over, the next refusals are acted upon.
	testhost.Eventually(t, "a step after the pause", func() bool {
		sendBurst(t, ns, 2000)
		return len(h.of(remediate.EventStepApplied)) > 1
	})
	if s := h.wait(t, remediate.EventStepApplied, 2).Data.(remediate.Step); s.From != 20100 || s.Reason != remediate.ReasonFull {
		t.Errorf("applied %+v", s)
	}
	if n := len(h.of(remediate.EventLimitChanged)); n != 1 {
		t.Errorf("%d limit.changed, want one", n)
	}
	if n := len(h.of(remediate.EventStepRefused)); n != 1 {
		t.Errorf("%d step.refused, want one", n)
	}
}

// TestPromiseNeverAFight has somebody set the limit back after each step, as a file does that is applied again and again. The
// agent raises it twice, across a restart, and then gives in and says what to change. It pauses the first time: the
// second time the value is known.
func TestPromiseNeverAFight(t *testing.T) {
	lock, ns := lowered(t)
	setMax(t, lock, 30000)
	file := fmt.Sprintf("/etc/sysctl.d/50-ctwarden-e2e-%d.conf", os.Getpid())
	t.Cleanup(func() { os.Remove(file) })
	writeFile(t, file, fmt.Sprintf("# a test's\nnet.netfilter.nf_conntrack_max = %d\n", limit), 0o644)
	h := startHub(t)
	a := startAgent(t, strings.Replace(plain(h.url), "max_insert_rate: 1000,", "max_insert_rate: 1000, foreign_pause: 2s,", 1))
	watched(t, a, ns.Inode)
	for i := 1; i <= 2; i++ {
		setMax(t, lock, limit)
		changed := h.wait(t, remediate.EventLimitChanged, i).Time
		fill(t, ns, a) // or the step of the second time could come before anything is refused
		refusedUntil(t, ns, fmt.Sprintf("step %d", i), func() bool { return len(reraised(h)) >= i })
		if s := reraised(h)[i-1]; s.Reason != remediate.ReasonFull || i == 1 && s.At.Sub(changed) < 2*time.Second {
			t.Fatalf("step %d, %v after the change: %+v", i, s.At.Sub(changed), s)
		}
		if err := ns.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	// The third time, while nobody looks.
	a.stop(t, syscall.SIGTERM)
	setMax(t, lock, limit)
	a.start(t)
	watched(t, a, ns.Inode)
	change := h.wait(t, remediate.EventLimitChanged, 3).Data.(remediate.LimitChange)
	if change.New != limit || change.By != file+":2" || change.ByKind != remediate.WriterSysctl || change.Times != 3 {
		t.Errorf("changed %+v", change)
	}
	fill(t, ns)
	refused := func() (why []string) {
		for _, r := range h.of(remediate.EventStepRefused) {
			s := r.Event.Data.(remediate.Step)
			if s.Reason == remediate.ReasonForeignChange && strings.Contains(s.Error, "raised again 2 times within the hour") {
				why = append(why, s.Error)
			}
		}
		return why
	}
	refusedUntil(t, ns, "the agent gives in", func() bool { return len(refused()) > 0 })
	wantWords(t, refused()[0], file+":2, which has this value, 3 times in this boot", "change or remove "+file+":2")
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); { // longer than the pause
		sendBurst(t, ns, 2000)
	}
	wantLimit(t, limit)
	if n := len(reraised(h)); n != 2 {
		t.Errorf("raised again %d times, want two", n)
	}
	if n := len(refused()); n != 1 {
		t.Errorf("said %d times in one incident, want once", n)
	}
	st := a.status(t)
	if st.Foreign == nil || st.Foreign.By != file+":2" || st.RefusedInPause == 0 {
		t.Errorf("status: %+v, %d refused in the pause", st.Foreign, st.RefusedInPause)
	}
	// All but what was refused between a step's reading and its write.
	if i := st.Incidents; len(i) != 1 || i[0].RefusedInPause > i[0].Drops+i[0].EarlyDrops ||
		i[0].RefusedInPause < (i[0].Drops+i[0].EarlyDrops)/2 {
		t.Errorf("incidents %+v", i)
	}
	h.once(t)
	testhost.Held(t, "9.1 never a fight", "the limit set back three times: raised twice, then left alone; %d packets refused in the last pause",
		st.RefusedInPause)
}

// reraised has the steps that began where the test set the limit; more may follow each.
func reraised(h *hub) []remediate.Step {
	var steps []remediate.Step
	for _, r := range h.of(remediate.EventStepApplied) {
		if s := r.Event.Data.(remediate.Step); s.From == limit {
			steps = append(steps, s)
		}
	}
	return steps
}

// sendBurst sends packets of new flows as fast as it can.
func sendBurst(t *testing.T, ns *testkernel.Namespace, packets int) {
	t.Helper()
	if _, err := ns.Burst(t.Context(), packets); err != nil {
		t.Fatal(err)
	}
}

// refusedUntil sends packets that the full table refuses until something is so.
func refusedUntil(t *testing.T, ns *testkernel.Namespace, what string, done func() bool) {
	t.Helper()
	testhost.Eventually(t, what, func() bool {
		sendBurst(t, ns, 2000)
		return done()
	})
}
