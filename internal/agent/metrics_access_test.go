package agent

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// TestMetricsTCP has root and an ordinary user ask over TCP, on loopback and on all addresses.
func TestMetricsTCP(t *testing.T) {
	testhost.NeedRoot(t)
	for _, c := range []struct {
		name, listen, to, group string
		users                   []string
		nobody                  []string // what the ordinary user gets
	}{
		{"root alone", "127.0.0.1:0", "127.0.0.1", "", nil, []string{"403", "closed true", "user nobody", "metrics.users: [nobody]", "unix:/path"}},
		{"root alone on IPv6", "[::1]:0", "::1", "", nil, []string{"403", "user nobody"}},
		{"root alone on all addresses", "0.0.0.0:0", "127.0.0.1", "", nil, []string{"403", "user nobody"}},
		{"root alone on all addresses of IPv6 too", "[::]:0", "127.0.0.1", "", nil, []string{"403", "user nobody"}},
		{"outside the group", "127.0.0.1:0", "127.0.0.1", "daemon", nil, []string{"403", "group daemon"}},
		{"outside root's group", "127.0.0.1:0", "127.0.0.1", "root", nil, []string{"403", "group root"}},
		{"in the group", "127.0.0.1:0", "127.0.0.1", "nogroup", nil, []string{"200 OK, closed false", "ctwarden_"}},
		{"another user named", "127.0.0.1:0", "127.0.0.1", "", []string{"daemon", "54321"}, []string{"403"}},
		{"named", "127.0.0.1:0", "127.0.0.1", "", []string{"daemon", "nobody"}, []string{"200 OK, closed false", "ctwarden_"}},
		{"named by number", "[::1]:0", "::1", "", []string{"65534"}, []string{"200 OK", "ctwarden_"}},
		{"every user", "127.0.0.1:0", "127.0.0.1", "", []string{"*"}, []string{"200 OK", "ctwarden_"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := serveMetrics(t, MetricsConfig{Listen: c.listen, Group: c.group, Users: c.users})
			_, port, err := net.SplitHostPort(m.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			address := net.JoinHostPort(c.to, port)
			cmd := testhost.AsNobody(t, "TestMetricsPeerHelper", metricsHelperEnv+"="+address)
			var said strings.Builder
			cmd.Stderr = &said
			if err := cmd.Run(); err != nil {
				t.Fatal(err)
			}
			for _, want := range c.nobody {
				if !strings.Contains(said.String(), want) {
					t.Errorf("nobody got %q, want %q", &said, want)
				}
			}
			if status, body := getOnce(t, address); status != http.StatusOK || !strings.Contains(body, "ctwarden_") {
				t.Errorf("root got %d %.200s", status, body)
			}
		})
	}
}

// getOnce asks as this user over a connection of its own.
func getOnce(t *testing.T, address string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestMetricsAccess: what the kernel says of the peer, and who may then read.
func TestMetricsAccess(t *testing.T) {
	tcp := metricsAccess{access: access{own: 990, group: "g", gid: 0}, tcp: true, users: []uint32{1001}}
	every := metricsAccess{access: access{own: 990, gid: -1}, tcp: true, every: true}
	socket := metricsAccess{access: access{own: 990, gid: -1}, users: []uint32{1001}, every: true}
	lost := errors.New("it was closed")
	for _, c := range []struct {
		name string
		who  metricsAccess
		peer peer
		want string // of the refusal; empty: served
	}{
		{"root", tcp, peer{uid: 0, gid: noGroup}, ""},
		{"the agent's user", tcp, peer{uid: 990, gid: noGroup}, ""},
		{"a named user", tcp, peer{uid: 1001, gid: noGroup}, ""},
		{"another user", tcp, peer{uid: 4123456789, gid: noGroup}, "for user uid 4123456789; only root, uid 990 and the group g may; metrics.users: [4123456789]"},
		{"another host", tcp, peer{elsewhere: true, gid: noGroup}, ""},
		{"unknown, and not root for it", tcp, peer{err: lost, gid: noGroup}, "does not say who asks: it was closed; metrics.users: [\"*\"]"},
		{"unknown, with a named user's number", tcp, peer{uid: 1001, err: lost}, "it was closed"},
		{"unknown, where every user may", every, peer{err: lost, gid: noGroup}, ""},
		{"any user", every, peer{uid: 4123456789, gid: noGroup}, ""},
		{"another host on a unix socket", socket, peer{elsewhere: true}, "another host"},
		{"a named user on a unix socket", socket, peer{uid: 1001, gid: 1001}, "not permitted for user"},
		{"nobody looked", tcp, peerOf(t.Context()), "nobody looked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.who.check(c.peer)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestMetricsUnknownUser: a user who is not there ends the start, before anything is listened on.
func TestMetricsUnknownUser(t *testing.T) {
	for _, name := range []string{"no-such-user", "4294967295", "-1", ""} {
		m, err := ListenMetrics(MetricsConfig{Listen: "127.0.0.1:0", Users: []string{"root", name}})
		if err == nil {
			m.listener.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "metrics.users: there is no user") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestMetricsRefusedLeaveRoom has far more connections refused than there may be, and asks after that.
func TestMetricsRefusedLeaveRoom(t *testing.T) {
	testhost.NeedRoot(t)
	address := serveMetrics(t, MetricsConfig{Listen: "127.0.0.1:0"}).Addr().String()
	before := openFiles(t)
	for range 3 * maxConnections {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).SetLinger(0); err != nil { // gone before anybody looks, or right after
			t.Fatal(err)
		}
		conn.Close()
	}
	testhost.Eventually(t, "the places are free again", func() bool {
		resp, err := http.Get("http://" + address + "/healthz")
		if err != nil {
			return false // no room yet
		}
		resp.Body.Close()
		http.DefaultClient.CloseIdleConnections()
		return resp.StatusCode == http.StatusOK && openFiles(t) <= before
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
