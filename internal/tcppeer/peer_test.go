package tcppeer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// TestJudge has what the real kernel gives only at times: answers that must not open the door.
func TestJudge(t *testing.T) {
	noAnswer := errors.New("no answer")
	const any = 40000
	for _, c := range []struct {
		name     string
		found    socket
		err      error
		local    bool
		localErr error
		want     string
	}{
		{"a user's", socket{1000, any, established}, nil, true, nil, "uid 1000"},
		{"root's, that ends its side", socket{0, any, finWait2}, nil, true, nil, "uid 0"},
		{"a user's, not of a local address", socket{1000, any, established}, nil, false, nil, "uid 1000"},
		{"nobody's any more", socket{0, 0, established}, nil, true, nil, "nobody's"},
		{"TIME_WAIT", socket{0, 0, 6}, nil, true, nil, "state 6"},
		{"not connected yet", socket{0, any, 2}, nil, true, nil, "state 2"},
		{"half open", socket{0, any, 3}, nil, true, nil, "state 3"},
		{"a listener", socket{0, any, 10}, nil, true, nil, "state 10"},
		{"no answer", socket{}, noAnswer, true, nil, "no answer"},
		{"no answer, from another host", socket{}, noAnswer, false, nil, "no answer"},
		{"not found here", socket{}, errNoSocket, true, nil, "is of this host"},
		{"not found, and no answer where", socket{}, errNoSocket, false, noAnswer, "no answer"},
		{"another host", socket{}, errNoSocket, false, nil, "elsewhere"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := tell(of(end{}, func(end) (socket, error) { return c.found, c.err }, func(end) (bool, error) { return c.local, c.localErr }))
			if !strings.Contains(got, c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestOfLeavesNothingOpen asks often and counts the open files.
func TestOfLeavesNothingOpen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	own, err := endOf(accepted.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	before := openFiles(t)
	for range 100 {
		if p, err := Of(accepted.(*net.TCPConn)); err != nil || p.Elsewhere || p.UID != uint32(os.Geteuid()) {
			t.Fatalf("%+v, %v", p, err)
		}
		if s, err := findInProc(own.reversed()); err != nil || s.check() != nil || s.uid != uint32(os.Geteuid()) {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d files are open, %d were before", after, before)
	}
}

// TestOfUnprivileged has an ordinary user ask, who learns whose the connections of others are.
func TestOfUnprivileged(t *testing.T) {
	testhost.NeedRoot(t)
	cmd := testhost.AsNobody(t, "TestServerHelper", serverEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	lines.Scan()
	conn, err := net.Dial("tcp", lines.Text())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if lines.Scan(); lines.Text() != "uid 0" {
		t.Errorf("an ordinary user learned %q of root's connection", lines.Text())
	}
}

const serverEnv = "CTWARDEN_TEST_TCP_SERVER"

// TestServerHelper is not a test: TestOfUnprivileged runs it in a process of another user.
func TestServerHelper(t *testing.T) {
	if os.Getenv(serverEnv) == "" {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(l.Addr())
	if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Println(tell(Of(conn.(*net.TCPConn))))
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func BenchmarkOf(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	accepted, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer accepted.Close()
	for b.Loop() {
		if _, err := Of(accepted.(*net.TCPConn)); err != nil {
			b.Fatal(err)
		}
	}
}

const header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

const line = "   1: 0100007F:1F90 0100007F:A3B2 01 00000000:00000000 00:00000000 00000000  1000        0 23456 1 0 20 4 30 10 -1\n"

// TestScan reads tables as only VRFs, or a kernel that has much to do, give them.
func TestScan(t *testing.T) {
	e := end{at: netip.MustParseAddrPort("127.0.0.1:8080"), to: netip.MustParseAddrPort("127.0.0.1:41906")}
	s := socket{1000, 23456, established}
	for _, c := range []struct {
		name, table string
		late        bool
		want        socket
		err         string // empty: found
	}{
		{"one", header + line, false, s, ""},
		{"the same twice", header + line + line, false, s, ""},
		{"the other end alone", header + strings.NewReplacer("1F90", "A3B2", "A3B2", "1F90").Replace(line), false, socket{}, "no socket"},
		{"two of one user", header + line + strings.Replace(line, "23456", "23457", 1), false, socket{}, "two sockets"},
		{"two users'", header + line + strings.Replace(line, "1000 ", "0    ", 1), false, socket{}, "two sockets"},
		{"nothing", header, false, socket{}, "no socket"},
		{"cut off", header + line[:40], false, socket{}, "columns"},
		{"a uid that is none", header + strings.Replace(line, "1000 ", "-100 ", 1), false, socket{}, "read the table"},
		{"too long", header + line, true, socket{}, "too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := scan(strings.NewReader(c.table), e, func() bool { return c.late })
			if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %+v, %v, want %+v, %q", got, err, c.want, c.err)
			}
		})
	}
}

// FuzzScan reads any table. Only a line with the four numbers may be found.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{"", header, header + line, header + line + line, header + "   1: 0100007F:1F90\n", header + "x y z 01 a b c d e f g\n",
		header + strings.ReplaceAll(line, "0100007F", "0000000000000000FFFF00000100007F")} {
		f.Add(seed)
	}
	e := end{at: netip.MustParseAddrPort("127.0.0.1:8080"), to: netip.MustParseAddrPort("127.0.0.1:41906")}
	f.Fuzz(func(t *testing.T, table string) {
		s, err := scan(strings.NewReader(table), e, func() bool { return false })
		if err == nil && !strings.Contains(table, ":") || err != nil && s != (socket{}) {
			t.Fatalf("%q: %+v, %v", table, s, err)
		}
		if err == nil && strings.Count(strings.ToUpper(table), ":1F90") == 0 {
			t.Fatalf("%q: %+v has other numbers", table, s)
		}
	})
}

// FuzzAnswer opens any message as a netlink answer, and reads it as a socket's.
func FuzzAnswer(f *testing.F) {
	good := binary.NativeEndian.AppendUint32(nil, unix.SizeofNlMsghdr+diagSize)
	good = binary.NativeEndian.AppendUint16(good, unix.SOCK_DIAG_BY_FAMILY)
	good = append(binary.NativeEndian.AppendUint32(append(good, 0, 0), sequence), 0, 0, 0, 0)
	good = append(good, unix.AF_INET)
	good = append(good, make([]byte, diagSize-1)...)
	for _, seed := range [][]byte{nil, good, good[:20], good[:len(good)-1]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		body, err := open(msg, diagSize)
		if err != nil {
			return
		}
		if at, to := diagEnds(body); !at.IsValid() || !to.IsValid() || len(body) < diagSize {
			t.Fatalf("%x: %v, %v of %d bytes", msg, at, to, len(body))
		}
	})
}
