package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// How long the agent may take to find a namespace, with what a busy machine adds: one that shows in the list of mounts or
// comes with a process, and one that only a whole look finds, which are 9 to 25 s apart by what they cost.
const (
	foundWithin = 10*time.Second + 5*time.Second
	lookWithin  = 25*time.Second + 5*time.Second
)

// TestNamespacesAreFound has namespaces appear in every manner, and wants each watched in time.
func TestNamespacesAreFound(t *testing.T) {
	testhost.NeedRoot(t)
	testkernel.Require(t)
	a := startAgent(t, fmt.Sprintf(idle, remediate.ModeObserve, "/does/not/exist"))
	wait := mover(t)
	young := time.Now()
	testhost.Eventually(t, "the process is an old one", func() bool { return time.Since(young) > 6*time.Second })
	for _, c := range []struct {
		name   string
		appear func() uint64
		within time.Duration
	}{
		{"mounted", func() uint64 { return testkernel.Scratch(t).Inode }, foundWithin},
		{"of a new process", func() uint64 { return mover(t)() }, foundWithin},
		{"of an old process, made without a fork", wait, lookWithin},
	} {
		inode := c.appear()
		begin := time.Now()
		testhost.Eventually(t, "the namespace is watched: "+c.name, func() bool {
			for _, ns := range a.status(t).NetNS {
				if ns.Inode == inode {
					return true
				}
			}
			return false
		})
		took := time.Since(begin)
		t.Logf("%s: %v", c.name, took.Round(time.Millisecond))
		if took > c.within {
			t.Errorf("%s: found after %v, want at most %v", c.name, took, c.within)
		}
	}
}

// mover starts a process that goes into a namespace of its own, without a fork, when it is told to; move tells it to, and
// returns that namespace.
func mover(t *testing.T) (move func() uint64) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "read go; exec unshare --net sleep 300")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	own := netOf(t, os.Getpid())
	return func() (inode uint64) {
		if _, err := io.WriteString(in, "go\n"); err != nil {
			t.Fatal(err)
		}
		testhost.Eventually(t, "the process has a namespace of its own", func() bool {
			inode = netOf(t, cmd.Process.Pid)
			return inode != own
		})
		return inode
	}
}

// netOf is the network namespace of a process.
func netOf(t *testing.T, pid int) (inode uint64) {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(link, "net:[%d]", &inode); err != nil {
		t.Fatalf("%s: %v", link, err)
	}
	return inode
}
