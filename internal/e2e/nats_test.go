package e2e

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestHubComesLater has no NATS at the start, and an incident before it comes.
func TestHubComesLater(t *testing.T) {
	lock, ns := lowered(t)
	address := freeAddress(t)
	a := startAgent(t, plain("nats://"+address))
	watched(t, a, ns.Inode)
	testhost.Eventually(t, "the status says why", func() bool {
		said, code := a.command(t, "status")
		return code == 0 && strings.Contains(said, "NOT CONNECTED") && strings.Contains(said, "connection refused")
	})
	fill(t, ns, a)
	a.said(t, 1, "step.confirmed")
	if err := lock.SetMax(50000); err != nil {
		t.Fatal(err)
	}
	a.said(t, 1, "limit.changed")
	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	a.said(t, 1, "incident.closed")
	if out := a.status(t).Outbox; !out.Enabled || out.Events != len(a.published()) {
		t.Errorf("outbox %+v, want all of %v in it", out, a.published())
	}
	h := startHubAt(t, address, t.TempDir())
	h.wait(t, remediate.EventIncidentClosed, 1)
	a.stop(t, syscall.SIGTERM)
	a.allReceived(t, h)
}

// TestHubKilled kills the hub in the middle of an incident and starts it again on what it has stored.
func TestHubKilled(t *testing.T) {
	lock, ns := lowered(t)
	address, store := freeAddress(t), t.TempDir()
	first := startHubAt(t, address, store)
	a := startAgent(t, plain("nats://"+address))
	watched(t, a, ns.Inode)
	fill(t, ns, a)
	first.wait(t, remediate.EventStepApplied, 1)
	first.stop(t, syscall.SIGKILL)
	a.said(t, 1, "step.confirmed")
	if err := lock.SetMax(50000); err != nil {
		t.Fatal(err)
	}
	a.said(t, 1, "limit.changed")
	a.wantCommand(t, 0, []string{"NOT CONNECTED"}, "status")
	second := startHubAt(t, address, store)
	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	second.wait(t, remediate.EventIncidentClosed, 1)
	testhost.Eventually(t, "the outbox is empty", func() bool { return a.status(t).Outbox.Events == 0 })
	a.stop(t, syscall.SIGTERM)
	a.allReceived(t, second)
}

// TestNATSOutOfReach has servers that cannot be reached; the status must say why within seconds.
func TestNATSOutOfReach(t *testing.T) {
	refused, unknown := "nats://"+freeAddress(t), "nats://nats.ctwarden.invalid:4222"
	for _, c := range []struct {
		name    string
		servers []string
		why     string
		times   int // how often the log says so: once for each reason
	}{
		{"a wrong port", []string{refused}, "connection refused", 1},
		{"a name that does not resolve", []string{unknown}, "lookup nats.ctwarden.invalid", 1},
		{"a server that is not NATS", []string{"nats://" + silentServer(t)}, "timeout", 1},
		{"four servers that say nothing", []string{"nats://" + silentServer(t), "nats://" + silentServer(t),
			"nats://" + silentServer(t), "nats://" + silentServer(t)}, "", 0},
		{"two servers, each with a reason of its own", []string{refused, unknown}, "nats.ctwarden.invalid", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := startAgent(t, plain(c.servers...))
			testhost.Eventually(t, "the status says why", func() bool {
				said, code := a.command(t, "status")
				return code == 0 && strings.Contains(said, "NOT CONNECTED") && strings.Contains(said, c.why)
			})
			a.said(t, c.times, "nats_disconnected")
			if took := a.stop(t, syscall.SIGTERM); took > 5*time.Second {
				t.Errorf("stopped in %v", took)
			}
		})
	}
}

// TestWithoutNATS keeps the events in the log.
func TestWithoutNATS(t *testing.T) {
	_, ns := lowered(t)
	a := startAgent(t, plain())
	watched(t, a, ns.Inode)
	fill(t, ns, a)
	for _, event := range []string{"agent.started", "incident.opened", "step.applied", "step.confirmed"} {
		a.said(t, 1, event)
	}
	if s := a.status(t); s.Outbox.Enabled || s.Outbox.Events != 0 || s.NATS.Configured {
		t.Errorf("outbox %+v, nats %+v; want both off", s.Outbox, s.NATS)
	}
	a.wantCommand(t, 0, []string{"not configured; events stay in the local log"}, "status")
}

// event is the line of an event in the log.
var event = regexp.MustCompile(`\t([a-z]+\.[a-z]+): `)

// published lists the types of the events of the agent's log, in order.
func (a *agentProcess) published() []string {
	var types []string
	for _, m := range event.FindAllStringSubmatch(a.output.String(), -1) {
		types = append(types, m[1])
	}
	return types
}

// allReceived waits until the hub has what the agent's log has, and fails the test unless it is that, each event once
// and in order.
func (a *agentProcess) allReceived(t *testing.T, h *hub) {
	t.Helper()
	want := a.published()
	testhost.Eventually(t, fmt.Sprintf("%d events", len(want)), func() bool { return len(h.of("")) >= len(want) })
	var got []string
	for _, r := range h.of("") {
		got = append(got, string(r.Event.Type))
	}
	if !slices.Equal(got, want) {
		t.Errorf("received %v\nwant %v", got, want)
	}
	h.once(t)
}

// freeAddress is an address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", testhost.Port(t))
}

// silentServer accepts connections and says nothing on them.
func silentServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}
