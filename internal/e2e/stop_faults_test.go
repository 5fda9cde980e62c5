package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

// deafFiles mounts a file system over dir whose server never answers, as a network's does that is gone: whoever looks for
// a file there waits until it is killed.
func deafFiles(t *testing.T, dir string) {
	t.Helper()
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		testhost.Skip(t, "needs a file system in user space: "+err.Error())
	}
	t.Cleanup(func() { device.Close() }) // which lets all go that wait
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", device.Fd())
	if err := unix.Mount("ctw-deaf", dir, "fuse.ctw", 0, options); err != nil {
		testhost.Skip(t, "mount a file system in user space: "+err.Error())
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// TestPromiseStopsWithManyFaults stops an agent whose reader hangs in a file system that does not answer, whose server was
// stopped and whose disk is frozen, all at once, and of which the agent knows the first alone.
func TestPromiseStopsWithManyFaults(t *testing.T) {
	testhost.NeedRoot(t)
	h := startHub(t)
	logs := t.TempDir()
	writeFile(t, filepath.Join(logs, "kern.log"), "", 0o644)
	config := fmt.Sprintf(observer, logs, "servers: ['"+h.url+"']")
	a := newAgent(t, t.TempDir(), strings.Replace(config, "lookback: 0s", "lookback: 0s, late_after: 5s", 1))
	disk := newScratchDisk(t, filepath.Join(a.dir, "state"))
	a.start(t)
	h.wait(t, remediate.EventAgentStarted, 1)

	deafFiles(t, logs)
	h.wait(t, remediate.EventSourceDegraded, 1)
	if err := h.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.cmd.Process.Signal(syscall.SIGCONT) })
	thaw := disk.freeze(t)
	begin := time.Now()
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testhost.Eventually(t, "the agent has exited", func() bool { return exited(t, a.cmd.Process.Pid) })
	took := time.Since(begin)
	if took > 5*time.Second {
		t.Errorf("stopped in %v", took)
	}
	thaw()
	<-a.ended
	wantWords(t, a.output.String(), "a reader is stuck and is left behind", "state not saved", "agent.stopped")
	testhost.Held(t, "5.9 stop with many faults", "a stuck reader, a server that stopped and a disk frozen just before: stopped in %v",
		took.Round(10*time.Millisecond))
}
