package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestReload has the agent take over a good file, and keep its own in the face of a bad one.
func TestReload(t *testing.T) {
	_, ns := lowered(t)
	h := startHub(t)
	observe := strings.Replace(plain(h.url), "mode: remediate", "mode: observe", 1)
	a := startAgent(t, observe)
	watched(t, a, ns.Inode)
	fill(t, ns, a)
	refused := h.wait(t, remediate.EventStepRefused, 1).Data.(remediate.Step)
	if refused.Reason != remediate.ReasonObserveMode {
		t.Errorf("refused %+v", refused)
	}
	a.wantCommand(t, 0, nil, "raise", "--to", "20001") // by hand it goes in every mode

	a.configure(t, strings.NewReplacer("mode: remediate", "mode: remediat", "close_after: 1s", "close_after: soon").Replace(plain(h.url)))
	a.hangUp(t)
	a.said(t, 1, "configuration not reloaded, the running one stays in force")
	a.said(t, 1, "did you mean remediate?")
	a.said(t, 1, "incident.close_after")
	if mode := a.status(t).Mode; mode != remediate.ModeObserve {
		t.Errorf("mode %s after a reload of a bad file", mode)
	}
	wantLimit(t, limit+1)

	// The refusals are over; what asks for a step once it is allowed is new ones.
	a.configure(t, strings.Replace(plain(h.url), "ceiling: 200000", "ceiling: 30000", 1))
	a.hangUp(t)
	testhost.Eventually(t, "remediate mode", func() bool { return a.status(t).Mode == remediate.ModeRemediate })
	fill(t, ns, a)
	applied := h.wait(t, remediate.EventStepApplied, 2).Data.(remediate.Step)
	if applied.From != limit+1 || applied.To != 30000 || applied.Ceiling != 30000 || applied.IncidentID != refused.IncidentID {
		t.Errorf("applied %+v, want 30000, the new ceiling, in incident %s", applied, refused.IncidentID)
	}
	wantLimit(t, 30000)

	a.configure(t, strings.Replace(plain("nats://127.0.0.1:1"), "site: e2e", "site: other", 1))
	a.hangUp(t)
	a.said(t, 1, "some changes take effect at the next start")
	a.said(t, 1, `"keys": "site, nats"`)
}

func (a *agentProcess) hangUp(t *testing.T) {
	t.Helper()
	if err := a.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// TestBadConfig has every command that reads the configuration name all of its mistakes.
func TestBadConfig(t *testing.T) {
	a := newAgent(t, t.TempDir(), "mode: raise\nremediate: {ceiling: -1, step: two}\nnats: {servers: [4222]}\ncolour: blue\n")
	want := []string{
		a.config + ":1: mode:", a.config + ":2: remediate.ceiling:", a.config + ":2: remediate.step:",
		a.config + ":3: nats.servers", a.config + ":4: colour:",
	}
	for _, args := range [][]string{
		{"run"}, {"check-config"}, {"raise", "--to", "300000"}, {"revert"},
	} {
		t.Run(fmt.Sprint(args), func(t *testing.T) { a.wantCommand(t, 2, want, args...) })
	}
}
