package tcppeer

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// client is how a connection is made, and what becomes of it.
type client struct {
	network, to string // network mapped: a socket of IPv6 that is connected to an IPv4 address
	from        string // empty: the kernel's choice
	device      string // the interface that the socket is bound to; empty: none
	after       string // half, close or reset; empty: the connection stays
	mptcp       bool
}

// dial connects. The connection that is returned is to be kept for as long as the client is to live; it may be closed.
func (c client) dial() (*net.TCPConn, error) {
	if c.network == "mapped" {
		return dialMapped(c.to)
	}
	d := net.Dialer{Timeout: 10 * time.Second, Control: c.bind}
	d.SetMultipathTCP(c.mptcp)
	if c.from != "" {
		from, err := netip.ParseAddrPort(c.from)
		if err != nil {
			return nil, err
		}
		d.LocalAddr = net.TCPAddrFromAddrPort(from)
	}
	conn, err := d.DialContext(context.Background(), c.network, c.to)
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	switch c.after {
	case "half":
		err = tcp.CloseWrite()
	case "close":
		err = tcp.Close()
	case "reset":
		if err = tcp.SetLinger(0); err == nil {
			err = tcp.Close()
		}
	}
	return tcp, err
}

// dialMapped does what package net does not: it uses the IPv4 address in the form that IPv6 has for it.
func dialMapped(to string) (*net.TCPConn, error) {
	addr, err := netip.ParseAddrPort(to)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "mapped")
	defer file.Close()
	if err := unix.Connect(fd, &unix.SockaddrInet6{Addr: addr.Addr().As16(), Port: int(addr.Port())}); err != nil {
		return nil, err
	}
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

func (c client) bind(_, _ string, raw syscall.RawConn) error {
	if c.device == "" {
		return nil
	}
	var err error
	if ctlErr := raw.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), c.device) }); ctlErr != nil {
		return ctlErr
	}
	return err
}

const clientEnv = "CTWARDEN_TEST_TCP_CLIENT"

// asNobody is the command that has an ordinary user connect, say so in a line, and stay until its input ends.
func (c client) asNobody(t *testing.T) *exec.Cmd {
	t.Helper()
	return testhost.AsNobody(t, "TestClientHelper", fmt.Sprintf("%s=%s %s %s %s %s %v", clientEnv, c.network, c.to,
		orDash(c.from), orDash(c.device), orDash(c.after), c.mptcp))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// TestClientHelper is not a test: asNobody runs it in a process of another user.
func TestClientHelper(t *testing.T) {
	text := os.Getenv(clientEnv)
	if text == "" {
		return
	}
	part := strings.Fields(text)
	for i := range part {
		if part[i] == "-" {
			part[i] = ""
		}
	}
	c := client{network: part[0], to: part[1], from: part[2], device: part[3], after: part[4], mptcp: part[5] == "true"}
	conn, err := c.dial()
	if err != nil {
		fmt.Println("failed:", err)
		return
	}
	fmt.Println("connected")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the test closes it
	conn.Close()
}

// start runs the command until the test's end, and returns once it has connected. It may be called in any goroutine.
func start(cmd *exec.Cmd, cleanup func(func())) error {
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	cleanup(func() {
		in.Close()
		_ = cmd.Wait() // how it ended does not matter
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "connected\n" {
		return fmt.Errorf("the client said %q, %v", line, err)
	}
	return nil
}
