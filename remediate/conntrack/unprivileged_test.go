package conntrack

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
)

// The environment of the child: the inodes of a namespace that it cannot enter and of one that a process of its own
// user lives in.
const (
	closedEnv = "CONNTRACK_TEST_CLOSED"
	ownedEnv  = "CONNTRACK_TEST_OWNED"
)

// TestUnprivileged runs TestAsNobody as a user without rights.
func TestUnprivileged(t *testing.T) {
	closed := testkernel.Scratch(t)
	sleep := exec.Command("sleep", "300")
	sleep.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET, Credential: &syscall.Credential{Uid: testhost.Nobody, Gid: testhost.Nobody},
	}
	start(t, sleep)

	child := testhost.AsNobody(t, "TestAsNobody",
		fmt.Sprintf("%s=%d", closedEnv, closed.Inode), fmt.Sprintf("%s=%d", ownedEnv, inodeOf(t, sleep.Process.Pid)))
	child.Args = append(child.Args, "-test.v")
	out, err := child.CombinedOutput()
	t.Logf("the child:\n%s", out)
	if err != nil {
		t.Error(err)
	}
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
	for inode, want := range map[uint64]error{table.Own().Inode: ErrMayNotList, closed: ErrMayNotEnter} {
		if top, err := sampler(t, table, inode).Top(100); err != want || top != nil {
			t.Errorf("who fills it: %v, %v; want %v", top, err, want)
		}
	}
	if r, err := table.Read(owned, true); err != nil || r.Blind || !r.CountersOK {
		t.Errorf("a namespace with a process of its own: %+v, %v; want the counters", r, err)
	}
}
