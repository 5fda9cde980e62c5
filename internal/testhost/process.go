package testhost

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testkernel"
)

// waitFor bounds every wait for a daemon. The machines that run tests are slow at times.
const waitFor = 30 * time.Second

// Skip skips the test, or fails it where [testkernel.RequireEnv] is set.
func Skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv(testkernel.RequireEnv) != "" {
		t.Fatalf("%s (%s is set)", why, testkernel.RequireEnv)
	}
	t.Skip(why)
}

// NeedRoot skips the test where it is not run by root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, "needs root")
	}
}

// NeedRestrictedLog skips the test where every user may read the kernel's log, unlike where distributions set it up.
func NeedRestrictedLog(t testing.TB) {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/kernel/dmesg_restrict")
	if err != nil || strings.TrimSpace(string(text)) != "1" {
		Skip(t, "needs kernel.dmesg_restrict = 1, so that /dev/kmsg is not for everybody")
	}
}

// Eventually waits until done returns true, and fails the test where it does not in half a minute. It is for the test's
// own goroutine; Await is for others.
func Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	if err := Await(what, done); err != nil {
		t.Fatal(err)
	}
}

// Await waits until done returns true, and fails where it does not in half a minute.
func Await(what string, done func() bool) error {
	deadline := time.NewTimer(waitFor)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline.C:
			return fmt.Errorf("not in %v: %s", waitFor, what)
		case <-tick.C:
		}
	}
	return nil
}

// KernelRecord has the kernel itself log a record that has nothing to do with networking, and returns a word that
// stands in that record alone.
func KernelRecord(t testing.TB) string {
	t.Helper()
	word := fmt.Sprintf("ctwarden_test_%d", time.Now().UnixNano())
	out, err := exec.Command("unshare", "-m", "mount", "-t", "tmpfs", "-o", word+"=1", "none", "/mnt").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "mount") {
		t.Fatalf("mount with an unknown option: %v: %s", err, out)
	}
	return word
}

// KernelRecords has the kernel itself log n records like that of [KernelRecord], one right after the other, and returns
// their words in that order. Each takes about a millisecond where the console is a serial line.
func KernelRecords(t testing.TB, n int) []string {
	t.Helper()
	words := make([]string, n)
	dir := t.TempDir()
	for i := range words {
		words[i] = fmt.Sprintf("ctwarden_test_%d", time.Now().UnixNano())
		// The option is refused before anything is mounted.
		if err := unix.Mount("none", dir, "tmpfs", 0, words[i]+"=1"); !errors.Is(err, unix.EINVAL) {
			t.Fatalf("mount with an unknown option: %v", err)
		}
	}
	return words
}

// WaitForRatelimit waits until the kernel's rate limit on networking messages (ten in five seconds, for all namespaces
// together) lets the next one through.
func WaitForRatelimit(t testing.TB) {
	t.Helper()
	Eventually(t, "the kernel's rate limit to be over", func() bool {
		over, err := RatelimitOver()
		if err != nil {
			t.Fatal(err)
		}
		return over
	})
}

// RatelimitOver tells whether the kernel's rate limit on networking messages would let the next one through.
func RatelimitOver() (bool, error) {
	const window = 5500 * time.Millisecond
	out, err := exec.Command("dmesg").Output()
	if err != nil {
		return false, fmt.Errorf("read the kernel's log: %w", err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return false, fmt.Errorf("read the clock: %w", err)
	}
	last := 0.0
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "table full") || strings.Contains(line, "callbacks suppressed") {
			_, _ = fmt.Sscanf(line, "[%f]", &last) // a line without a time does not count
		}
	}
	return time.Duration(now.Nano())-time.Duration(last*float64(time.Second)) > window, nil
}

// daemon is a process that ends with the test.
type daemon struct {
	cmd   *exec.Cmd
	ended <-chan error
}

func start(t testing.TB, cmd *exec.Cmd) daemon {
	t.Helper()
	cmd.Stderr = os.Stderr
	ended, err := Spawn(cmd)
	if err != nil {
		t.Fatal(err)
	}
	d := daemon{cmd: cmd, ended: ended}
	t.Cleanup(func() { d.Stop(t) })
	return d
}

// PID is the daemon's process ID.
func (d daemon) PID() int { return d.cmd.Process.Pid }

// Signal sends it a signal.
func (d daemon) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}

// Stop ends it and waits for that. It may be called again.
func (d daemon) Stop(t testing.TB) {
	t.Helper()
	d.Signal(t, syscall.SIGTERM)
	<-d.ended // how it ended does not matter
}
