package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestWhoFillsTheTableIsTold has one address fill a table, in either mode: the incident is told at once without it, soon
// after with it, and in remediate mode after the step, which does not wait for it.
func TestWhoFillsTheTableIsTold(t *testing.T) {
	for _, mode := range []string{"observe", "remediate"} {
		t.Run(mode, func(t *testing.T) {
			_, ns := lowered(t)
			h := startHub(t)
			config := strings.NewReplacer("mode: remediate", "mode: "+mode, "close_after: 1s", "close_after: 4s").Replace(plain(h.url))
			a := startAgent(t, config)
			h.wait(t, remediate.EventAgentStarted, 1)
			watched(t, a, ns.Inode)
			flows := testkernel.Traffic{Kind: testkernel.Established, From: 4, Flows: limit * 98 / 100}
			if _, err := ns.Send(t.Context(), flows); err != nil {
				t.Fatal(err)
			}
			opened := h.wait(t, remediate.EventIncidentOpened, 1)
			told := firstWithTop(t, h)
			leads(t, told.Data.(remediate.Incident), testkernel.Established.Source(4).String())
			late := told.Time.Sub(opened.Time)
			if i := opened.Data.(remediate.Incident); len(i.Top) != 0 || i.NetNS.Inode != ns.Inode || late > time.Second {
				t.Errorf("opened %+v; who fills it was told %v later", i, late)
			}
			a.wantCommand(t, 0, []string{"most entries: 198.18.0.12 "}, "status")
			if mode == "remediate" {
				if step := h.wait(t, remediate.EventStepApplied, 1); !step.Time.Before(told.Time) {
					t.Errorf("a step at %v, who fills the table at %v: the raise comes first", step.Time, told.Time)
				}
			}
			if err := ns.Flush(); err != nil {
				t.Fatal(err)
			}
			leads(t, live(t, h, remediate.EventIncidentClosed), testkernel.Established.Source(4).String())
			if n := len(h.of(remediate.EventIncidentUpdated)); n > 3 {
				t.Errorf("%d updates", n)
			}
			t.Logf("told %v after the opening", late)
		})
	}
}

// firstWithTop waits for the first update that says who fills the table.
func firstWithTop(t *testing.T, h *hub) (found remediate.Event) {
	t.Helper()
	testhost.Eventually(t, "an update says who fills the table", func() bool {
		for _, r := range h.of(remediate.EventIncidentUpdated) {
			if len(r.Event.Data.(remediate.Incident).Top) > 0 {
				found = r.Event
				return true
			}
		}
		return false
	})
	return found
}

// leads fails the test unless the address holds all that there is.
func leads(t *testing.T, i remediate.Incident, address string) {
	t.Helper()
	want := uint64(limit * 98 / 100)
	if len(i.Top) != 1 || i.Top[0].Address != address || i.Top[0].Entries*10 < want*9 || i.Top[0].Entries*10 > want*11 {
		t.Errorf("%v holds the entries, want %s with %d", i.Top, address, want)
	}
}
