package tcppeer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
)

// hosts are two hosts on one wire: namespaces with 192.0.2.1 and 192.0.2.2, 2001:db8::1 and 2001:db8::2, fe80::1 and
// fe80::2, each on the device lan0 with the index 7.
func hosts(t *testing.T) (here, there *testkernel.Namespace) {
	t.Helper()
	testhost.NeedRoot(t)
	// The names begin as testkernel's do: the next run removes what a killed one leaves.
	here = &testkernel.Namespace{Name: fmt.Sprintf("ctw-%d-peer1", os.Getpid())}
	there = &testkernel.Namespace{Name: fmt.Sprintf("ctw-%d-peer2", os.Getpid())}
	for _, ns := range []*testkernel.Namespace{here, there} {
		ip(t, "netns add "+ns.Name)
		t.Cleanup(func() { ip(t, "netns del "+ns.Name) })
	}
	ip(t, "-n "+here.Name+" link add lan0 index 7 type veth peer name lan0 index 7 netns "+there.Name)
	for i, ns := range []*testkernel.Namespace{here, there} {
		ip(t, "-n "+ns.Name+" link set lo up")
		ip(t, "-n "+ns.Name+" link set lan0 addrgenmode none")
		ip(t, "-n "+ns.Name+" link set lan0 up")
		ip(t, fmt.Sprintf("-n %s addr add 192.0.2.%d/24 dev lan0", ns.Name, i+1))
		ip(t, fmt.Sprintf("-n %s addr add 2001:db8::%d/64 dev lan0 nodad", ns.Name, i+1))
		ip(t, fmt.Sprintf("-n %s addr add fe80::%d/64 dev lan0 nodad", ns.Name, i+1))
	}
	ip(t, "-n "+here.Name+" route add local 198.51.100.0/24 dev lo")
	// The second host's other address is reached only by a rule about our own.
	ip(t, "-n "+there.Name+" addr add 203.0.113.2/32 dev lan0")
	ip(t, "-n "+here.Name+" rule add from 192.0.2.1 table 100")
	ip(t, "-n "+here.Name+" route add 203.0.113.0/24 via 192.0.2.2 table 100")
	return here, there
}

func ip(t *testing.T, line string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", line, err, out)
	}
}

// who connects.
const (
	asRoot = iota
	asNobody
	fromThere // root on the other host
)

// ofCase is a connection from the first to the second of two hosts, or within the first.
type ofCase struct {
	name   string
	listen string
	who    int
	client client
	beside string // what else the first host listens on once the client has connected; empty: nothing
	want   string // of what Of says; PORT stands for the peer's
	inProc string // the same where /proc is read, which also has sockets bound to a device; empty: want
}

// TestOf asks for every kind of peer in the way that this kernel has; TestOfWithoutDiag runs it again in the other way.
func TestOf(t *testing.T) {
	here, there := hosts(t)
	none := end{at: netip.MustParseAddrPort("127.0.0.1:1"), to: netip.MustParseAddrPort("127.0.0.1:2")}
	if _, err := diag(none); errors.Is(err, errUnavailable) != blinded() {
		t.Fatalf("sock_diag: %v, with the filter: %v", err, blinded())
	}
	for _, c := range []ofCase{
		{"root on loopback", "127.0.0.1:0", asRoot, client{network: "tcp4", to: "127.0.0.1"}, "", "uid 0", ""},
		{"nobody on loopback", "127.0.0.1:0", asNobody, client{network: "tcp4", to: "127.0.0.1"}, "", "uid 65534", ""},
		{"another loopback address", "0.0.0.0:0", asNobody, client{network: "tcp4", to: "127.9.9.9", from: "127.7.7.7:0"}, "", "uid 65534", ""},
		{"root on ::1", "[::1]:0", asRoot, client{network: "tcp6", to: "::1"}, "", "uid 0", ""},
		{"nobody on ::1", "[::1]:0", asNobody, client{network: "tcp6", to: "::1"}, "", "uid 65534", ""},
		{"IPv4 to a listener of IPv6", "[::]:0", asNobody, client{network: "tcp4", to: "127.0.0.1"}, "", "uid 65534", ""},
		{"root by an IPv4 address in IPv6", "[::]:0", asRoot, client{network: "mapped", to: "127.0.0.1"}, "", "uid 0", ""},
		{"nobody by an IPv4 address in IPv6", "[::]:0", asNobody, client{network: "mapped", to: "127.0.0.1"}, "", "uid 65534", ""},
		{"nobody by an IPv4 address in IPv6 to a listener of IPv4", "0.0.0.0:0", asNobody, client{network: "mapped", to: "127.0.0.1"}, "", "uid 65534", ""},
		{"root by the LAN address", "0.0.0.0:0", asRoot, client{network: "tcp4", to: "192.0.2.1"}, "", "uid 0", ""},
		{"nobody by the LAN address", "0.0.0.0:0", asNobody, client{network: "tcp4", to: "192.0.2.1"}, "", "uid 65534", ""},
		{"nobody by the LAN address of IPv6", "[::]:0", asNobody, client{network: "tcp6", to: "2001:db8::1"}, "", "uid 65534", ""},
		{"nobody by the link-local address", "[::]:0", asNobody, client{network: "tcp6", to: "fe80::1%7"}, "", "uid 65534", ""},
		{"nobody by a local route", "0.0.0.0:0", asNobody, client{network: "tcp4", to: "198.51.100.1", from: "198.51.100.7:0"}, "", "uid 65534", ""},
		{"another host", "0.0.0.0:0", fromThere, client{network: "tcp4", to: "192.0.2.1"}, "", "elsewhere", ""},
		{"another host, a listener of IPv6", "[::]:0", fromThere, client{network: "tcp4", to: "192.0.2.1"}, "", "elsewhere", ""},
		{"another host by IPv6", "[::]:0", fromThere, client{network: "tcp6", to: "2001:db8::1"}, "", "elsewhere", ""},
		{"another host by its link-local address", "[::]:0", fromThere, client{network: "tcp6", to: "fe80::1%7"}, "", "elsewhere", ""},
		{"another host by a rule of routing", "0.0.0.0:0", fromThere, client{network: "tcp4", to: "192.0.2.1", from: "203.0.113.2:0"}, "", "elsewhere", ""},
		{"another host with the port of a listener of ours", "0.0.0.0:0", fromThere, client{network: "tcp4", to: "192.0.2.1", from: "192.0.2.2:2222"}, "0.0.0.0:2222", "elsewhere", ""},

		{"half closed", "127.0.0.1:0", asNobody, client{network: "tcp4", to: "127.0.0.1", after: "half"}, "", "uid 65534", ""},
		{"root, half closed", "[::1]:0", asRoot, client{network: "tcp6", to: "::1", after: "half"}, "", "uid 0", ""},
		{"closed", "127.0.0.1:0", asNobody, client{network: "tcp4", to: "127.0.0.1", after: "close"}, "", "the peer has closed its socket", ""},
		{"closed by root", "[::1]:0", asRoot, client{network: "tcp6", to: "::1", after: "close"}, "", "the peer has closed its socket", ""},
		{"reset", "127.0.0.1:0", asNobody, client{network: "tcp4", to: "127.0.0.1", after: "reset"}, "", "127.0.0.1:PORT is of this host, and no socket is there", ""},
		{"reset, and a listener of root's on the port", "127.0.0.1:0", asNobody,
			client{network: "tcp4", to: "127.0.0.1", from: "127.0.0.1:2223", after: "reset"}, "127.0.0.1:2223", "127.0.0.1:PORT is of this host, and no socket is there", ""},
		{"reset by the LAN address", "0.0.0.0:0", asNobody, client{network: "tcp4", to: "192.0.2.1", after: "reset"}, "", "192.0.2.1:PORT is of this host", ""},
		{"bound to a device", "0.0.0.0:0", asNobody, client{network: "tcp4", to: "192.0.2.1", device: "lan0"}, "", "192.0.2.1:PORT is of this host", "uid 65534"},
		{"a local route, bound to a device", "0.0.0.0:0", asNobody,
			client{network: "tcp4", to: "198.51.100.1", from: "198.51.100.7:0", device: "lo"}, "", "198.51.100.7:PORT is of this host", "uid 65534"},
		{"many paths", "127.0.0.1:0", asNobody, client{network: "tcp4", to: "127.0.0.1", mptcp: true}, "", "uid 65534", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := c.want
			if blinded() && c.inProc != "" {
				want = c.inProc
			}
			if got := c.run(t, here, there); !strings.HasPrefix(got, want) {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// run makes the connection and returns what Of says of it.
func (c ofCase) run(t *testing.T, here, there *testkernel.Namespace) (said string) {
	t.Helper()
	l := c.listenOn(t, here, c.listen)
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.client.to = net.JoinHostPort(c.client.to, port)
	c.connect(t, here, there)
	if c.beside != "" {
		c.listenOn(t, here, c.beside)
	}
	if err := l.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := here.Do(func() error {
		conn, err := l.AcceptTCP()
		if err != nil {
			return err
		}
		defer conn.Close()
		said = strings.ReplaceAll(tell(Of(conn)), fmt.Sprintf(":%d", conn.RemoteAddr().(*net.TCPAddr).Port), ":PORT")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return said
}

func tell(p Peer, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case p.Elsewhere:
		return "elsewhere"
	}
	return fmt.Sprintf("uid %d", p.UID)
}

func (c ofCase) listenOn(t *testing.T, ns *testkernel.Namespace, address string) (l *net.TCPListener) {
	t.Helper()
	if err := ns.Do(func() error {
		any, err := net.Listen("tcp", address)
		if err == nil {
			l = any.(*net.TCPListener)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// connect has the client connect, and live until the test's end.
func (c ofCase) connect(t *testing.T, here, there *testkernel.Namespace) {
	t.Helper()
	ns := here
	if c.who == fromThere {
		ns = there
	}
	cmd := c.client.asNobody(t)
	if err := ns.Do(func() error {
		if c.who == asNobody {
			return start(cmd, t.Cleanup)
		}
		conn, err := c.client.dial()
		if err == nil {
			t.Cleanup(func() { conn.Close() })
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestTimeWait: a connection that is over has no user, whatever uid the kernel gives for it.
func TestTimeWait(t *testing.T) {
	for name, find := range finders {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			conn, err := client{network: "tcp", to: l.Addr().String(), after: "close"}.dial()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			accepted, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer accepted.Close()
			if err := accepted.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			own, err := endOf(accepted.(*net.TCPConn))
			if err != nil {
				t.Fatal(err)
			}
			const timeWait = 6
			var s socket
			testhost.Eventually(t, "the client is in TIME_WAIT", func() bool {
				s, err = find(own.reversed())
				return err == nil && s.state == timeWait
			})
			if s.inode != 0 || s.check() == nil {
				t.Errorf("%+v counts as a user's", s)
			}
		})
	}
}

// finders are the two ways to look a socket up.
var finders = map[string]func(end) (socket, error){"sock_diag": findByDiag, "proc": findInProc}
