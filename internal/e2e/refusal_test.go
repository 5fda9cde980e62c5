package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

const message = "nf_conntrack: nf_conntrack: table full, dropping packet"

func TestObserveModeChangesNothing(t *testing.T) {
	lock, ns := testkernel.First(t)
	r := newRig(t)
	if err := lock.SetMax(limit); err != nil {
		t.Fatal(err)
	}
	a := startAgent(t, strings.Replace(r.config(remediateConfig), "mode: remediate", "mode: observe", 1))
	watched(t, a, ns.Inode)
	if _, err := ns.Burst(t.Context(), burst); err != nil {
		t.Fatal(err)
	}
	refused := r.hub.wait(t, remediate.EventStepRefused, 1).Data.(remediate.Step)
	if refused.Reason != remediate.ReasonObserveMode || refused.From != limit || refused.To != 2*limit {
		t.Errorf("refused %+v", refused)
	}
	if got, err := testkernel.ReadLimits(); err != nil || got.Max != limit {
		t.Errorf("limit %+v (%v), want it untouched at %d", got, err, limit)
	}
	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	live(t, r.hub, remediate.EventIncidentClosed)
	if n := len(r.hub.of(remediate.EventStepRefused)); n != 1 {
		t.Errorf("%d step.refused, want one an incident and reason", n)
	}
	if n := len(r.hub.of(remediate.EventStepApplied)); n != 0 {
		t.Errorf("%d steps in observe mode", n)
	}
	if _, err := os.Stat(a.persisted); err == nil {
		t.Errorf("%s was written", a.persisted)
	}
}

func TestForgedLines(t *testing.T) {
	testkernel.Require(t)
	testkernel.Hold(t) // nobody else fills a table meanwhile
	r := newRig(t)
	a := startAgent(t, r.config(remediateConfig))
	limits, err := testkernel.ReadLimits()
	if err != nil {
		t.Fatal(err)
	}
	const n = 10000
	r.journal.Run(t, lines(message, n), "systemd-cat", "-t", "kernel", "-p", "warning")
	out, code := runToEnd(t, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c",
		fmt.Sprintf("yes '%s' | head -n %d | logger -t kernel --socket %s", message, n, r.syslog.Socket))
	if code != 0 {
		t.Fatal(out)
	}
	testhost.Eventually(t, "the forged lines are read", func() bool {
		var read uint64
		for _, s := range a.status(t).Sources {
			if s.Source == remediate.SourceSyslog {
				read = s.Matches
			}
		}
		return read >= n
	})
	first := r.hub.wait(t, remediate.EventMatchUnverified, 1).Data.(remediate.Unverified)
	if first.Count == 0 || first.PerSource["syslog:"+r.syslog.File] != first.Count {
		t.Errorf("unverified %+v", first)
	}
	for _, s := range a.status(t).Sources {
		if s.Source == remediate.SourceJournal && s.Matches != 0 {
			t.Errorf("%d forged records of the journal were believed", s.Matches)
		}
	}
	a.stop(t, syscall.SIGTERM)
	r.hub.wait(t, remediate.EventAgentStopped, 1)
	if n := len(r.hub.of(remediate.EventMatchUnverified)); n > 1 {
		t.Errorf("%d match.unverified within a minute", n)
	}
	for _, typ := range []remediate.EventType{remediate.EventStepApplied, remediate.EventStepRefused} {
		if got := r.hub.of(typ); len(got) != 0 {
			t.Errorf("%s on forged lines: %+v", typ, got)
		}
	}
	for _, ev := range r.hub.of(remediate.EventIncidentOpened) {
		if i := ev.Event.Data.(remediate.Incident); !i.Historical {
			t.Errorf("incident on forged lines: %+v", i)
		}
	}
	if now, err := testkernel.ReadLimits(); err != nil || now != limits {
		t.Errorf("limits %+v (%v), want %+v", now, err, limits)
	}
}
