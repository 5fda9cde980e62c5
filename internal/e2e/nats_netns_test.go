package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/notify"
)

// distant is a hub in a namespace of its own, joined by a veth to the namespace of an agent, which tracks what goes over
// it.
type distant struct {
	*process
	from    *testkernel.Namespace
	name    string // of the hub's namespace
	address string
	store   string
}

func newDistant(t *testing.T, from *testkernel.Namespace) *distant {
	t.Helper()
	// The names begin as testkernel's do: the next run removes what a killed one leaves, and the veth's end is tracked.
	d := &distant{from: from, name: fmt.Sprintf("ctw-%d-hub", os.Getpid()), address: "192.0.2.2:4222", store: t.TempDir()}
	device := fmt.Sprintf("ctwh%d", os.Getpid())
	mustRun(t, "ip", "netns", "add", d.name)
	t.Cleanup(func() { mustRun(t, "ip", "netns", "del", d.name) })
	mustRun(t, "ip", "-n", from.Name, "link", "add", device, "type", "veth", "peer", "name", "hub0", "netns", d.name)
	mustRun(t, "ip", "-n", from.Name, "addr", "add", "192.0.2.1/30", "dev", device)
	mustRun(t, "ip", "-n", from.Name, "link", "set", device, "up")
	mustRun(t, "ip", "-n", d.name, "addr", "add", "192.0.2.2/30", "dev", "hub0")
	mustRun(t, "ip", "-n", d.name, "link", "set", "hub0", "up")
	mustRun(t, "ip", "-n", d.name, "link", "set", "lo", "up")
	d.launch(t)
	return d
}

func (d *distant) launch(t *testing.T) {
	t.Helper()
	d.process = launch(t, nil, "ip", "netns", "exec", d.name, filepath.Join(bin, "ctwarden-hub"), "serve", "--embedded",
		"--listen", d.address, "--store", d.store)
	d.says(t, "ready at nats://192")
}

func mustRun(t *testing.T, command ...string) {
	t.Helper()
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", command, err, out)
	}
}

// inside dials from within the hub's namespace, where nothing is tracked.
type inside struct{ name string }

func (i inside) Dial(network, address string) (c net.Conn, err error) {
	ns := testkernel.Namespace{Name: i.name}
	err = ns.Do(func() error {
		c, err = net.DialTimeout(network, address, 10*time.Second)
		return err
	})
	return c, err
}

// look connects within the hub's namespace for as long as the test lasts.
func (d *distant) look(t *testing.T) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("nats://"+d.address, nats.SetCustomDialer(inside{d.name}), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// newRefused tells whether the agent's namespace lets no new connection out to the hub.
func (d *distant) newRefused(t *testing.T) bool {
	t.Helper()
	var refused bool
	if err := d.from.Do(func() error {
		c, err := net.DialTimeout("tcp", d.address, time.Second)
		if refused = err != nil; !refused {
			return c.Close()
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return refused
}

// arrived waits until the stream has so many events of a type; its message ids are not enough, so it counts subjects.
func arrived(t *testing.T, nc *nats.Conn, typ string) {
	t.Helper()
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	subject := notify.SubjectPrefix + ".*.*." + typ
	testhost.Eventually(t, typ+" arrives", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		info, err := js.StreamInfo(notify.StreamName, &nats.StreamInfoRequest{SubjectsFilter: subject}, nats.Context(ctx))
		return err == nil && len(info.State.Subjects) > 0
	})
}

// TestPromiseFullTable has the agent's own way to NATS lead through the table that is full. The connection was made
// before and goes on; a new one waits until there is room.
func TestPromiseFullTable(t *testing.T) {
	lock, ns := lowered(t)
	d := newDistant(t, ns)
	a := newObserver(t, "servers: ['nats://"+d.address+"']", "incident: {close_after: 1s, pressure: 0.97}\n")
	a.start(t, "ip", "netns", "exec", ns.Name)
	a.connected(t)
	watched(t, a, ns.Inode)
	nc := d.look(t)
	fill(t, ns, a)
	if !d.newRefused(t) {
		t.Fatal("a new connection comes about; the table is not full")
	}
	arrived(t, nc, "incident.opened")
	if !d.newRefused(t) {
		t.Error("the table was not full any more when the event arrived")
	}

	// The connection is lost. So that the entry which it leaves makes no room, the limit is lowered below the count.
	if err := lock.SetMax(limit - 5000); err != nil {
		t.Fatal(err)
	}
	d.stop(t, syscall.SIGKILL)
	d.launch(t)
	a.unreached(t, "a full conntrack table drops new connections")
	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	arrived(t, nc, "incident.closed")
	a.emptied(t)
	a.stop(t, syscall.SIGTERM)
	got := storedIn(t, nc)
	a.allOf(t, got, nil)
	testhost.Held(t, "4.8 the alert goes out through the full table", "while %d entries filled the table and new connections were refused incident.opened arrived; "+
		"a connection lost meanwhile came back when there was room; %d events, lost 0, twice 0", limit, len(got))
}

// halfOpen has all packets between agent and hub disappear, while both believe that they are connected.
func halfOpen(t *testing.T) {
	testkernel.Require(t)
	ns := testkernel.Scratch(t)
	d := newDistant(t, ns)
	a := newObserver(t, "servers: ['nats://"+d.address+"']", "")
	a.start(t, "ip", "netns", "exec", ns.Name)
	a.connected(t)
	nc := d.look(t)
	arrived(t, nc, "agent.started")
	mustRun(t, "ip", "netns", "exec", d.name, "nft", "add table inet gone; "+
		"add chain inet gone in { type filter hook input priority 0; policy accept; }; "+
		"add rule inet gone in iifname hub0 drop; "+
		"add chain inet gone out { type filter hook output priority 0; policy accept; }; "+
		"add rule inet gone out oifname hub0 drop")
	a.line(t)
	begin := time.Now()
	a.unreached(t, "no answer within 2s")
	took := time.Since(begin)
	mustRun(t, "ip", "netns", "exec", d.name, "nft", "delete table inet gone")
	arrived(t, nc, "match.unverified")
	a.emptied(t)
	a.stop(t, syscall.SIGTERM)
	got := storedIn(t, nc)
	a.allOf(t, got, nil)
	testhost.Held(t, "4.9 half-open connection", "noticed within %.1f s; %d events, lost 0, twice 0", took.Seconds(), len(got))
}

func (a *agentProcess) connected(t *testing.T) {
	t.Helper()
	testhost.Eventually(t, "connected", func() bool { return a.status(t).NATS.Connected })
}

// unreached waits until the status and the log say that there is no way to the server, and why. The metrics are in the
// agent's namespace.
func (a *agentProcess) unreached(t *testing.T, words string) {
	t.Helper()
	testhost.Eventually(t, "status and log say "+words, func() bool {
		st := a.status(t).NATS
		return !st.Connected && st.Problem == notify.ProblemUnreachable && strings.Contains(st.Error, words) &&
			strings.Contains(a.output.String(), words)
	})
}

// emptied waits until the outbox is empty and the connection good.
func (a *agentProcess) emptied(t *testing.T) {
	t.Helper()
	testhost.Eventually(t, "the outbox is empty and nothing is wrong", func() bool {
		st := a.status(t)
		return st.Outbox.Events == 0 && st.NATS.Connected && st.NATS.Error == ""
	})
}
