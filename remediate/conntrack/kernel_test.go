package conntrack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
)

func TestFirstNamespaceIsWhatTheToolsSay(t *testing.T) {
	lock, ns := testkernel.First(t)
	before, err := ns.Count()
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.SetMax(before + 2000); err != nil {
		t.Fatal(err)
	}
	table := open(t, "/")
	start, err := table.Read(ns.Inode, true)
	if err != nil {
		t.Fatal(err)
	}
	result, err := ns.Burst(t.Context(), 10000)
	if err != nil {
		t.Fatal(err)
	}
	end, err := table.Read(ns.Inode, true)
	if err != nil {
		t.Fatal(err)
	}
	// The host's own traffic is refused too, in this namespace.
	if got := end.Counters.Drop - start.Counters.Drop; got < result.Refused || got > result.Refused+result.Refused/10 || got == 0 {
		t.Errorf("drops = %d, the sender was refused %d", got, result.Refused)
	}
	if !end.NetNS.Init || end.Count < 1900 {
		t.Errorf("reading = %+v, want a full table of the first namespace", end)
	}
	for column, got := range map[string]uint64{
		"drop": end.Counters.Drop, "early_drop": end.Counters.EarlyDrop,
		"insert_failed": end.Counters.InsertFailed, "search_restart": end.Counters.SearchRestart,
	} {
		if want := conntrackTool(t, column); got != want {
			t.Errorf("%s = %d, conntrack -S says %d", column, got, want)
		}
	}
	limits, err := table.Limits()
	want, err2 := testkernel.ReadLimits()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if limits.Max != want.Max || limits.OldMax != want.Max || limits.Buckets != want.Buckets ||
		end.Max != want.Max || end.Buckets != want.Buckets || !limits.Writable || !limits.BucketsWritable {
		t.Errorf("limits = %+v, reading %+v; want %+v, writable", limits, end, want)
	}
	if count, err := ns.Count(); err != nil || count > end.Count+20 || end.Count > count+20 {
		t.Errorf("count = %d; nf_conntrack_count says %d, %v", end.Count, count, err)
	}
}

// conntrackTool adds up one counter in what conntrack(8) gets over netlink.
func conntrackTool(t *testing.T, column string) (sum uint64) {
	t.Helper()
	out, err := exec.Command("conntrack", "-S").Output()
	if err != nil {
		testhost.Skip(t, "needs conntrack(8): "+err.Error())
	}
	for field := range strings.FieldsSeq(string(out)) {
		if value, ok := strings.CutPrefix(field, column+"="); ok {
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

func TestAnotherNamespaceIsCountedExactly(t *testing.T) {
	lock := testkernel.Hold(t)
	ns := testkernel.Scratch(t)
	if err := lock.SetMax(5000); err != nil {
		t.Fatal(err)
	}
	table := open(t, "/")
	if found, ok := find(discover(t, table), ns.Inode); !ok || found.Name != ns.Name || found.Owner != "netns" || found.Init {
		t.Errorf("found %+v, want %s of ip netns", found, ns.Name)
	}
	if _, err := ns.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: 3000}); err != nil {
		t.Fatal(err)
	}
	r, err := table.Read(ns.Inode, false)
	if err != nil || r.Count != 3000 || r.Max != 5000 || r.CountersOK || r.Blind {
		t.Errorf("reading = %+v, %v; want 3000 of 5000 without counters", r, err)
	}
	result, err := ns.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: 3000})
	if err != nil {
		t.Fatal(err)
	}
	r, err = table.Read(ns.Inode, true)
	if err != nil || r.Count != 5000 || r.Counters.Drop != result.Refused || result.Refused == 0 {
		t.Errorf("reading = %+v, %v; want 5000 and %d drops", r, err, result.Refused)
	}
	if again, err := table.Read(ns.Inode, false); err != nil || again.Count != r.Count {
		t.Errorf("a second look: %+v, %v; want the same count", again, err)
	}
	if drops, err := ns.Drops(); err != nil || drops != r.Counters.Drop {
		t.Errorf("drops = %d, the kernel says %d, %v", r.Counters.Drop, drops, err)
	}
	if own, err := table.Read(table.Own().Inode, true); err != nil || own.Count >= 5000 {
		t.Errorf("the own namespace: %+v, %v; another's entries must not count", own, err)
	}
}

// TestWatchingDoesNotKeepANamespaceAlive holds the count of a namespace and reads its counters, deletes it, and wants
// it really gone: the other end of its veth disappears with it.
func TestWatchingDoesNotKeepANamespaceAlive(t *testing.T) {
	outer := testkernel.Scratch(t)
	name := fmt.Sprintf("ctw-%d-gone", os.Getpid())
	ip(t, "netns", "add", name)
	deleted := false
	t.Cleanup(func() {
		if !deleted {
			ip(t, "netns", "del", name)
		}
	})
	ip(t, "-n", outer.Name, "link", "add", "watched", "type", "veth", "peer", "name", "inner", "netns", name)
	table := open(t, "/")
	inode := named(t, table, name)
	for range 20 {
		if r, err := table.Read(inode, true); err != nil || r.Blind || !r.CountersOK {
			t.Fatalf("reading = %+v, %v", r, err)
		}
	}
	if table.spaces[inode].count == nil {
		t.Fatal("its count is not held")
	}
	ip(t, "netns", "del", name)
	deleted = true
	begin := time.Now()
	testhost.Eventually(t, "the veth disappears", func() bool {
		return exec.Command("ip", "-n", outer.Name, "link", "show", "watched").Run() != nil
	})
	t.Logf("gone after %v", time.Since(begin))
	if _, err := table.Read(inode, true); !errors.Is(err, ErrGone) {
		t.Errorf("error = %v, want ErrGone", err)
	}
	if _, ok := find(discover(t, table), inode); ok {
		t.Error("it is still found")
	}
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(context.Background(), "ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func named(t *testing.T, table *Table, name string) uint64 {
	t.Helper()
	for _, ns := range discover(t, table) {
		if ns.Name == name {
			return ns.Inode
		}
	}
	t.Fatalf("%s is not found", name)
	return 0
}

func TestANewNamespaceWithAnOldInodeStartsAfresh(t *testing.T) {
	lock := testkernel.Hold(t)
	if err := lock.SetMax(1000); err != nil {
		t.Fatal(err)
	}
	for range 10 { // the kernel gives the lowest free number, which somebody else may take
		if afreshAtAnOldInode(t) {
			return
		}
	}
	testhost.Skip(t, "somebody else took the inode each time")
}

// afreshAtAnOldInode fills a namespace, removes it and reads one that has got its inode; false: none has got it.
func afreshAtAnOldInode(t *testing.T) bool {
	t.Helper()
	old := testkernel.Scratch(t)
	table := open(t, "/")
	discover(t, table)
	if _, err := old.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: 2000}); err != nil {
		t.Fatal(err)
	}
	if r, err := table.Read(old.Inode, true); err != nil || r.Counters.Drop == 0 {
		t.Fatalf("reading = %+v, %v", r, err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	kept := table.spaces[old.Inode]
	testhost.Eventually(t, "the old namespace goes", func() bool { return !kept.same(&sighting{}) })
	next := testkernel.Scratch(t)
	for range 10 {
		if next.Inode == old.Inode {
			break
		}
		next = testkernel.Scratch(t)
	}
	if next.Inode != old.Inode {
		return false
	}
	if found, ok := find(discover(t, table), next.Inode); !ok || found.Name != next.Name {
		t.Errorf("found %+v, want %s", found, next.Name)
	}
	if r, err := table.Read(next.Inode, true); err != nil || r.Counters.Drop != 0 || r.Count != 0 {
		t.Errorf("reading = %+v, %v; want nothing of the old", r, err)
	}
	return true
}

func TestANamespaceThatOnlyAProcessHolds(t *testing.T) {
	testkernel.Require(t)
	sleep := unshared(t)
	inode := inodeOf(t, sleep.Process.Pid)
	table := open(t, "/")
	found, ok := find(discover(t, table), inode)
	named := nameOf(table.root, sleep.Process.Pid)
	want, owner := named.name, named.owner
	if !ok || found.Name == "" || found.Name != want || found.Owner != owner {
		t.Errorf("found %+v, want %s by its %s", found, want, owner)
	}
	if r, err := table.Read(inode, true); err != nil || r.Blind || !r.CountersOK || r.Count != 0 {
		t.Errorf("reading = %+v, %v", r, err)
	}
	stop(sleep)
	testhost.Eventually(t, "the namespace is gone to Read", func() bool {
		_, err := table.Read(inode, true)
		return errors.Is(err, ErrGone)
	})
	if _, ok := find(discover(t, table), inode); ok {
		t.Error("it is still found")
	}
}

// TestNoThreadStaysBehind visits often and wants all threads of this process at home afterwards.
func TestNoThreadStaysBehind(t *testing.T) {
	ns := testkernel.Scratch(t)
	table := open(t, "/")
	discover(t, table)
	for range 200 {
		if r, err := table.Read(ns.Inode, true); err != nil || r.Blind {
			t.Fatal(r, err)
		}
	}
	atHome(t, table)
}

func TestLimitsAreReadOnlyElsewhere(t *testing.T) {
	ns := testkernel.Scratch(t)
	table := open(t, "/")
	err := ns.Do(func() error {
		limits, err := table.Limits()
		if err == nil && (limits.Writable || limits.BucketsWritable || limits.Max == 0) {
			t.Errorf("limits outside the first namespace = %+v, want them readable and not writable", limits)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
