package conntrack

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testkernel"
)

// nobody is a user without rights.
const nobody = 65534

// The environment of the child: the inodes of a namespace that it cannot enter and of one that a process of its own
// user lives in.
const (
	closedEnv = "CONNTRACK_TEST_CLOSED"
	ownedEnv  = "CONNTRACK_TEST_OWNED"
)

// TestUnprivileged runs TestAsNobody as a user without rights.
func TestUnprivileged(t *testing.T) {
	closed := testkernel.Scratch(t)
	credential := &syscall.Credential{Uid: nobody, Gid: nobody}
	sleep := exec.Command("sleep", "300")
	sleep.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Credential: credential}
	start(t, sleep)

	child := exec.Command(readable(t), "-test.run=^TestAsNobody$", "-test.v")
	child.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	child.Dir = "/"
	child.Env = []string{
		fmt.Sprintf("%s=%d", closedEnv, closed.Inode),
		fmt.Sprintf("%s=%d", ownedEnv, inodeOf(t, sleep.Process.Pid)),
	}
	out, err := child.CombinedOutput()
	t.Logf("the child:\n%s", out)
	if err != nil {
		t.Error(err)
	}
}

// readable copies this program to where any user may execute it.
func readable(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "conntrack")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(dir, "conntrack.test")
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestAsNobody is the child of TestUnprivileged.
func TestAsNobody(t *testing.T) {
	closed, err := strconv.ParseUint(os.Getenv(closedEnv), 10, 64)
	if err != nil {
		t.Skip("runs as a child of TestUnprivileged")
	}
	owned, err := strconv.ParseUint(os.Getenv(ownedEnv), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	table := open(t, "/")
	all := discover(t, table)
	own, err := table.Read(table.Own().Inode, true)
	if err != nil || own.Blind || !own.CountersOK || own.Max == 0 || own.Buckets == 0 {
		t.Errorf("the own namespace: %+v, %v; want all of it", own, err)
	}
	if limits, err := table.Limits(); err != nil || limits.Writable || limits.BucketsWritable {
		t.Errorf("limits = %+v, %v; want them not writable", limits, err)
	}
	if memory, err := table.Memory(); err != nil || memory.Total == 0 || memory.EntryBytes < 256 {
		t.Errorf("memory = %+v, %v", memory, err)
	}
	if ns, ok := find(all, closed); !ok || ns.Owner != "netns" {
		t.Errorf("found %+v, want the mounted namespace with its name", ns)
	}
	if r, err := table.Read(closed, true); err != nil || !r.Blind || r.CountersOK {
		t.Errorf("a namespace that it cannot enter: %+v, %v; want a blind reading", r, err)
	}
	if r, err := table.Read(owned, true); err != nil || r.Blind || !r.CountersOK {
		t.Errorf("a namespace with a process of its own: %+v, %v; want the counters", r, err)
	}
}
