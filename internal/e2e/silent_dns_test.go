package e2e

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
)

// silentDNS is a name server that hears questions and never answers. It is in a network namespace, on the loopback.
type silentDNS struct {
	address string

	mu    sync.Mutex
	heard [][]byte // the last ones
}

func newSilentDNS(t *testing.T, ns *testkernel.Namespace) *silentDNS {
	t.Helper()
	d := &silentDNS{address: "127.0.0.1"}
	var conn net.PacketConn
	if err := ns.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", d.address+":53")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			d.mu.Lock()
			d.heard = append(d.heard[max(0, len(d.heard)-99):], bytes.Clone(buf[:n]))
			d.mu.Unlock()
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return d
}

// asked tells whether somebody has asked for a name that begins with a label.
func (d *silentDNS) asked(label string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, question := range d.heard {
		if bytes.Contains(question, append([]byte{byte(len(label))}, label...)) {
			return true
		}
	}
	return false
}

// within runs what follows in the namespace, with this server as the only one that names are asked of, and one that is
// waited for longer than a stop may take. The mounts are the process's own.
func (d *silentDNS) within(t *testing.T, ns *testkernel.Namespace) []string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "resolv.conf"), "nameserver "+d.address+"\noptions timeout:30 attempts:3\n", 0o644)
	writeFile(t, filepath.Join(dir, "nsswitch.conf"), "hosts: dns\n", 0o644)
	const script = `for f in resolv.conf nsswitch.conf; do test ! -e /etc/$f || mount --bind "$0/$f" /etc/$f || exit; done; exec "$@"`
	return []string{"ip", "netns", "exec", ns.Name, "unshare", "--mount", "sh", "-c", script, dir}
}

// TestPromiseStopsWithSilentDNS stops agents whose name server hears what they ask and does not answer, as one behind a
// full table does.
func TestPromiseStopsWithSilentDNS(t *testing.T) {
	testkernel.Require(t)
	const one, several = 1, 4
	var slowest time.Duration
	cases := []struct {
		name     string
		servers  int
		resolver string
		in       int // the stop comes while this one's name is looked up
	}{
		{"one server", one, "go", 0},
		{"one server with the resolver of the C library", one, "cgo", 0},
		{"several servers in the first", several, "go", 0},
		{"several servers in the second", several, "go", 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ns := testkernel.Scratch(t)
			dns := newSilentDNS(t, ns)
			var urls []string
			for i := range c.servers {
				urls = append(urls, fmt.Sprintf("'nats://nowhere%d.example:4222'", i))
			}
			a := newObserver(t, "servers: ["+strings.Join(urls, ", ")+"]", "")
			a.env = []string{"GODEBUG=netdns=" + c.resolver}
			a.start(t, dns.within(t, ns)...)
			// The library tries the servers in an order of its own; which is second shows by what was asked.
			testhost.Eventually(t, "names are looked up", func() bool {
				n := 0
				for i := range c.servers {
					if dns.asked(fmt.Sprintf("nowhere%d", i)) {
						n++
					}
				}
				return n > c.in
			})
			took := a.stop(t, syscall.SIGTERM)
			if slowest = max(slowest, took); took > 5*time.Second {
				t.Errorf("stopped in %v", took)
			}
			wantWords(t, a.output.String(), "agent.stopped")
		})
	}
	testhost.Held(t, "4.11 stop with a silent name server", "%d agents, stopped within a look-up that lasts 90 s: in %v at the slowest",
		len(cases), slowest.Round(10*time.Millisecond))
}
