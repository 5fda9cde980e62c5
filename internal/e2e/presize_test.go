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

// few is a hash much too small for plain's ceiling, and enough the one that serves it.
const (
	few    = 2560
	enough = 50176
)

// setBuckets sizes the kernel's hash; the lock on the limit puts it back.
func setBuckets(t *testing.T, buckets uint64) {
	t.Helper()
	if err := testkernel.SetBuckets(buckets); err != nil {
		t.Fatal(err)
	}
}

// smallHash makes the hash so small that a step has to resize it: what the agent has sized in a boot it does not size
// again in quiet.
func (a *agentProcess) smallHash(t *testing.T, buckets uint64) {
	t.Helper()
	setBuckets(t, few)
	a.start(t)
	a.wantHash(t, enough, remediate.HashSized)
	a.stop(t, syscall.SIGTERM)
	setBuckets(t, buckets)
}

// wantHash waits until the kernel has a hash of that size and the status that word for why.
func (a *agentProcess) wantHash(t *testing.T, buckets uint64, reason remediate.HashReason) {
	t.Helper()
	testhost.Eventually(t, fmt.Sprintf("%d buckets, %s", buckets, reason), func() bool {
		now, err := testkernel.ReadLimits()
		if err != nil {
			t.Fatal(err)
		}
		s := a.status(t).Hash
		return now.Buckets == buckets && s != nil && s.Reason == reason
	})
}

// staysSmall fails the test unless the hash is left alone for some seconds of the agent's life, for that reason.
func (a *agentProcess) staysSmall(t *testing.T, reason remediate.HashReason) {
	t.Helper()
	a.wantHash(t, few, reason)
	from := a.status(t).At
	testhost.Eventually(t, "three seconds have passed", func() bool { return a.status(t).At.Sub(from) > 3*time.Second })
	a.wantHash(t, few, reason)
}

// TestHashIsSizedInQuiet has the agent size the real kernel's hash at its start, tell nobody of a step, and leave the
// limit alone.
func TestHashIsSizedInQuiet(t *testing.T) {
	lowered(t)
	h := startHub(t)
	a := newAgent(t, t.TempDir(), plain(h.url))
	setBuckets(t, few)
	a.start(t)
	a.wantHash(t, enough, remediate.HashSized)
	s := a.status(t)
	if r := s.Hash.Last; r == nil || r.From != few || r.Asked != 50176 || r.To != enough || r.TookUS <= 0 || s.Limits.Buckets != enough {
		t.Errorf("%+v; the last resize is %+v", s.Hash, r)
	}
	a.said(t, 1, "hash sized")
	a.wantCommand(t, 0, []string{"buckets", fmt.Sprint(enough), remediate.HashSized.Text()}, "status")
	setBuckets(t, few)
	a.staysSmall(t, remediate.HashSmaller)
	a.stop(t, syscall.SIGTERM)
	h.wait(t, remediate.EventAgentStopped, 1)
	for _, r := range h.of("") {
		if kind := string(r.Event.Type); strings.HasPrefix(kind, "step.") || strings.HasPrefix(kind, "incident.") || strings.HasPrefix(kind, "limit.") {
			t.Errorf("an event: %+v", r.Event)
		}
	}
	if len(s.Steps) > 0 {
		t.Errorf("the journal of steps has %+v", s.Steps)
	}
	wantLimit(t, limit)
}

// TestHashIsLeftAlone has what forbids a resize in quiet forbid it on the real kernel, and a hold that is released allow
// it again.
func TestHashIsLeftAlone(t *testing.T) {
	lowered(t)
	for _, c := range []struct {
		name, old, new string
		reason         remediate.HashReason
	}{
		{"observe", "mode: remediate", "mode: observe", remediate.HashObserve},
		{"keep", "ceiling: 200000", "ceiling: 200000, buckets: keep", remediate.HashKeep},
		{"held", "", "", remediate.HashHeld},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAgent(t, t.TempDir(), strings.Replace(plain(), c.old, c.new, 1))
			setBuckets(t, few)
			held := c.reason == remediate.HashHeld
			if held {
				a.wantCommand(t, 0, nil, "hold")
			}
			a.start(t)
			a.staysSmall(t, c.reason)
			if held {
				a.wantCommand(t, 0, nil, "unhold")
				a.wantHash(t, enough, remediate.HashSized)
			}
			a.stop(t, syscall.SIGTERM)
		})
	}
}

// TestHashWaitsForQuiet has a table of which a resize would be noticed keep its hash until it is small.
func TestHashWaitsForQuiet(t *testing.T) {
	lock, ns := lowered(t)
	if err := lock.SetMax(500_000); err != nil {
		t.Fatal(err)
	}
	const busy = 60_000
	if _, err := ns.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: busy}); err != nil {
		t.Fatal(err)
	}
	setBuckets(t, few)
	a := startAgent(t, plain())
	a.staysSmall(t, remediate.HashStall)
	s := a.status(t).Hash
	if usual := int64(busy * 450 / 1000); s.StallUS < usual || s.StallUS > 2*usual || s.Wanted != enough {
		t.Errorf("%+v", s)
	}
	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	a.wantHash(t, enough, remediate.HashSized)
	a.said(t, 1, "hash sized")
}

// TestFoundingCaseForReal fills the table of a host that has the default limit of old kernels, and is busy from the start,
// again and again: it must come to the ceiling, with one resize.
func TestFoundingCaseForReal(t *testing.T) {
	lock, ns := lowered(t)
	if err := lock.SetMax(65536); err != nil {
		t.Fatal(err)
	}
	setBuckets(t, 16384)
	send := func(flows int) {
		t.Helper()
		if _, err := ns.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: flows}); err != nil {
			t.Fatal(err)
		}
	}
	send(58_000)
	config := strings.NewReplacer("ceiling: 200000", "ceiling: 524288", "max_insert_rate: 1000, ", "").Replace(plain())
	if !strings.Contains(config, "ceiling: 524288") || strings.Contains(config, "max_insert_rate") {
		t.Fatal(config)
	}
	a := startAgent(t, config)
	watched(t, a, ns.Inode)
	a.wantHash(t, 16384, remediate.HashStall)
	for sent := 0; limitNow(t) < 524288; sent += 20_000 {
		if sent > 800_000 {
			t.Fatalf("%+v", a.status(t))
		}
		send(20_000)
	}
	testhost.Eventually(t, "the steps are told", func() bool { return strings.Contains(a.output.String(), "524288") })
	a.said(t, 1, "hash sized")
	s := a.status(t)
	if r := s.Hash.Last; r == nil || r.From != 16384 || r.To != 131072 || s.Hash.Reason != remediate.HashSized || r.Entries < 60_000 {
		t.Errorf("%+v, the last resize is %+v", s.Hash, r)
	} else {
		t.Logf("one resize of %d entries: %d µs, of which %d µs busy; %d steps", r.Entries, r.TookUS, r.BusyUS, len(s.Steps))
	}
	if n := len(s.Steps); n == 0 || n > 3 {
		t.Errorf("steps %+v", s.Steps)
	}
	testhost.Eventually(t, "the file has the hash too", func() bool {
		text, err := os.ReadFile(a.persisted)
		return err == nil && strings.Contains(string(text), "nf_conntrack_buckets = 131072\n") &&
			strings.Contains(string(text), "nf_conntrack_max = 524288\n")
	})
}
