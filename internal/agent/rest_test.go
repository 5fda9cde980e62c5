package agent

import (
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestAtRest has a whole agent at rest while somebody else sets the limit: the reading that shows it wakes nobody, and yet the
// loop hears who that was, and goes on.
func TestAtRest(t *testing.T) {
	h := newScratch(t)
	h.cfg.NATS.Servers = []string{"nats://127.0.0.1:1"} // nobody dials it: it turns the outbox on
	h.put(t, "etc/sysctl.d/50-db.conf", "net.netfilter.nf_conntrack_max = 50000\n")
	a, stop, done := runScratch(t, h, 0)
	// Through the outbox alone: what asks the loop would wake it.
	saved := func(n int) func() bool { return func() bool { return a.outbox.count().Events >= n } }
	testhost.Eventually(t, "the start is told", saved(1))
	before := a.outbox.count().Events
	h.table(t, 100, 50000, 0)
	testhost.Eventually(t, "the change is told", saved(before+1))
	h.table(t, 50000, 50000, 300)
	testhost.Eventually(t, "the incident is told", saved(before+2))
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	told := a.tracker.ForeignStatus(a.tracker.ForeignAt(), a.cfg.Policy)
	if told == nil || told.By != "/etc/sysctl.d/50-db.conf:1" || told.ByKind != remediate.WriterSysctl {
		t.Errorf("the change is told as %+v, want its file", told)
	}
	if n := len(a.tracker.Open()); n != 1 {
		t.Errorf("%d incidents are open, want one", n)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}
