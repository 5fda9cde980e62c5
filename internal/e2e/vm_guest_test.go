package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// guest is a machine of its own, emulated, with an agent in it. Its console has the agent's log.
type guest struct {
	console *console
	shell   net.Conn
	ended   <-chan error
	limit   uint64 // that the agent has left
}

// bootGuest boots one with one processor and no network, and starts the agent. The table takes a thousand entries.
func bootGuest(t *testing.T) *guest {
	t.Helper()
	image := newGuestImage(t)
	socket := filepath.Join(t.TempDir(), "shell")
	g := &guest{console: &console{}, limit: 1000}
	cmd := exec.Command("qemu-system-x86_64", "-accel", "tcg", "-smp", "1", "-m", "512", "-display", "none", "-no-reboot",
		"-nic", "none", "-serial", "stdio", "-serial", "unix:"+socket+",server=on,wait=off",
		"-kernel", image.kernel, "-initrd", image.initrd, "-append", "console=ttyS0 quiet panic=-1")
	cmd.Stdout, cmd.Stderr = g.console, g.console
	var err error
	if g.ended, err = testhost.Spawn(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
		<-g.ended
		if t.Failed() {
			t.Logf("the console:\n%s", g.console)
		}
	})
	g.says(t, 0, "guest ready")
	if g.shell, err = net.Dial("unix", socket); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.shell.Close() })
	g.run(t, fmt.Sprintf("echo %d >/proc/sys/net/netfilter/nf_conntrack_max", g.limit))
	g.run(t, "ctwarden run --config /etc/ctwarden.yaml >/dev/console 2>&1 & agent=$!")
	g.says(t, 0, "agent ready")
	g.says(t, 0, "agent.started: ") // in either order
	return g
}

// run has the guest's shell run a command and returns what it printed.
func (g *guest) run(t *testing.T, command string) string {
	t.Helper()
	if err := g.shell.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(g.shell, "%s\necho end of command $?\n", command); err != nil {
		t.Fatal(err)
	}
	end := regexp.MustCompile(`(?m)^end of command (\d+)\n`)
	var said []byte
	for buf := make([]byte, 4096); ; {
		n, err := g.shell.Read(buf)
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, said)
		}
		said = append(said, buf[:n]...)
		if m := end.FindSubmatchIndex(said); m != nil {
			if code := string(said[m[2]:m[3]]); code != "0" {
				t.Fatalf("%s: exit %s: %s", command, code, said[:m[0]])
			}
			return strings.TrimSpace(string(said[:m[0]]))
		}
	}
}

// number is the number that a command prints.
func (g *guest) number(t *testing.T, command string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(g.run(t, command), 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return n
}

// says waits until a line after the first from has text in it, and returns that line.
func (g *guest) says(t *testing.T, from int, text string) consoleLine {
	t.Helper()
	var found consoleLine
	testhost.Eventually(t, "the guest says "+text, func() bool {
		for _, l := range g.console.since(from) {
			if strings.Contains(l.text, text) {
				found = l
				return true
			}
		}
		select {
		case err := <-g.ended:
			t.Fatalf("the guest has ended (%v) without saying %q", err, text)
		default:
		}
		return false
	})
	return found
}

// consoleLine is one line, and when it came.
type consoleLine struct {
	at   time.Time
	text string
}

// console keeps what comes over the first serial line.
type console struct {
	mu    sync.Mutex
	part  []byte
	lines []consoleLine
}

// Write implements io.Writer.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.part = append(c.part, p...)
	for {
		line, rest, whole := bytes.Cut(c.part, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		c.lines = append(c.lines, consoleLine{time.Now(), strings.TrimRight(string(line), "\r")})
		c.part = rest
	}
}

// since returns the lines after the first n.
func (c *console) since(n int) []consoleLine {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]consoleLine(nil), c.lines[n:]...)
}

// String has all lines, each with when it came.
func (c *console) String() string {
	var b strings.Builder
	for _, l := range c.since(0) {
		fmt.Fprintf(&b, "%s %s\n", l.at.Format("15:04:05.000"), l.text)
	}
	return b.String()
}
