package testvm

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// Patience bounds every wait for a guest: an emulated processor on a busy machine is very slow at times.
const Patience = 4 * time.Minute

// Machine is a guest. It is for the test's own goroutine.
type Machine struct {
	// Console has what the guest writes on its first serial line.
	Console *Console
	shell   net.Conn
	ended   <-chan error
}

// Boot boots a machine with one processor, so much memory in MB, and no network, and waits for its shell. It ends with the
// test.
func Boot(t *testing.T, image Image, memory int) *Machine {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "shell")
	m := &Machine{Console: &Console{}}
	cmd := exec.Command("qemu-system-x86_64", "-accel", "tcg", "-smp", "1", "-m", strconv.Itoa(memory), "-display", "none",
		"-no-reboot", "-nic", "none", "-serial", "stdio", "-serial", "unix:"+socket+",server=on,wait=off",
		"-kernel", image.kernel, "-initrd", image.initrd, "-append", "console=ttyS0 quiet panic=-1")
	cmd.Stdout, cmd.Stderr = m.Console, m.Console
	var err error
	if m.ended, err = testhost.Spawn(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
		<-m.ended
		if t.Failed() {
			t.Logf("the console:\n%s", m.Console)
		}
	})
	m.Says(t, 0, "guest ready")
	if m.shell, err = net.Dial("unix", socket); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.shell.Close() })
	return m
}

// Run has the guest's shell run a command and returns what it printed, less blanks at the ends. A command that fails ends
// the test.
func (m *Machine) Run(t *testing.T, command string) string {
	t.Helper()
	out, code := m.Try(t, command)
	if code != 0 {
		t.Fatalf("%s: exit %d: %s", command, code, out)
	}
	return out
}

// endOfCommand is what the shell prints after each.
var endOfCommand = regexp.MustCompile(`(?m)^end of command (\d+)\n`)

// Try is Run for a command that may fail; it returns the exit code too.
func (m *Machine) Try(t *testing.T, command string) (out string, code int) {
	t.Helper()
	if err := m.shell.SetDeadline(time.Now().Add(Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(m.shell, "%s\necho end of command $?\n", command); err != nil {
		t.Fatal(err)
	}
	var said []byte
	for buf := make([]byte, 4096); ; {
		n, err := m.shell.Read(buf)
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, said)
		}
		said = append(said, buf[:n]...)
		if end := endOfCommand.FindSubmatchIndex(said); end != nil {
			code, err := strconv.Atoi(string(said[end[2]:end[3]]))
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimSpace(string(said[:end[0]])), code
		}
	}
}

// Number is the number that a command prints.
func (m *Machine) Number(t *testing.T, command string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(m.Run(t, command), 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return n
}

// Until asks until done, with a pause in between, and fails the test where it is not within Patience.
func (m *Machine) Until(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline.C:
			t.Fatalf("not in %v: %s", Patience, what)
		case err := <-m.ended:
			t.Fatalf("the guest has ended (%v), and not: %s", err, what)
		case <-tick.C:
		}
	}
}

// Says waits until a line of the console after the first from has text in it, and returns that line.
func (m *Machine) Says(t *testing.T, from int, text string) Line {
	t.Helper()
	var found Line
	m.Until(t, "the guest says "+text, func() bool {
		for _, l := range m.Console.Since(from) {
			if strings.Contains(l.Text, text) {
				found = l
				return true
			}
		}
		return false
	})
	return found
}

// Archive packs the directories below the guest's root, for [Image.With].
func (m *Machine) Archive(t *testing.T, dirs ...string) []byte {
	t.Helper()
	text := m.Run(t, "(cd / && find "+strings.Join(dirs, " ")+" | cpio -o -H newc 2>/dev/null | gzip | base64)")
	packed, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	archive, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

// Off has the guest switch itself off, and waits for it.
func (m *Machine) Off(t *testing.T) {
	t.Helper()
	if _, err := fmt.Fprintln(m.shell, "exit"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-m.ended:
		if err != nil {
			t.Fatalf("qemu: %v", err)
		}
	case <-time.After(Patience):
		t.Fatalf("the guest is not off after %v", Patience)
	}
}
