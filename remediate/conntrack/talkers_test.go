package conntrack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

func sampler(t testing.TB, table *Table, inode uint64) *Sampler {
	t.Helper()
	s, err := table.Sampler(inode)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// send makes entries from one of the addresses.
func send(t testing.TB, ns *testkernel.Namespace, kind testkernel.Kind, from, flows int) {
	t.Helper()
	r, err := ns.Send(t.Context(), testkernel.Traffic{Kind: kind, From: from, Flows: flows})
	if err != nil || r.Refused > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
}

// near tells whether a number is within a tenth of another.
func near(got, want uint64) bool { return 10*got > 9*want && 10*got < 11*want }

// TestTopOfATableLargerThanTheSample fills a namespace's table from three addresses. Its entries were made one after the
// other, from one address at a time; a sample finds their shares all the same, and in another namespace nothing of it.
func TestTopOfATableLargerThanTheSample(t *testing.T) {
	lock := testkernel.Hold(t)
	ns, other := testkernel.Scratch(t), testkernel.Scratch(t)
	if err := lock.SetMax(200_000); err != nil {
		t.Fatal(err)
	}
	const kind = testkernel.Established
	for from, flows := range map[int]int{3: 60_000, 0: 30_000, 5: 10_000} {
		send(t, ns, kind, from, flows)
	}
	send(t, other, kind, 7, 100)
	table := open(t, "/")
	discover(t, table)
	r, err := table.Read(ns.Inode, false)
	if err != nil || r.Count != 100_000 {
		t.Fatalf("%+v, %v", r, err)
	}
	begin := time.Now()
	top, err := sampler(t, table, ns.Inode).Top(r.Count)
	t.Logf("%v in %v", top, time.Since(begin))
	if err != nil || len(top) != 3 {
		t.Fatalf("%v, %v; want the three addresses", top, err)
	}
	for i, want := range []remediate.Talker{{Address: kind.Source(3).String(), Entries: 60_000}, {Address: kind.Source(0).String(), Entries: 30_000},
		{Address: kind.Source(5).String(), Entries: 10_000}} {
		if top[i].Address != want.Address || !near(top[i].Entries, want.Entries) {
			t.Errorf("%+v, want %+v within a tenth", top[i], want)
		}
	}
	if top[0].Entries == 60_000 && top[1].Entries == 30_000 {
		t.Error("the whole table was read")
	}
}

// TestTopOfASmallTable has both protocols in it, and is exact.
func TestTopOfASmallTable(t *testing.T) {
	ns := testkernel.Scratch(t)
	send(t, ns, testkernel.UDP6, 2, 900)
	send(t, ns, testkernel.UDP, 1, 400)
	send(t, ns, testkernel.UDP6, 0, 300)
	table := open(t, "/")
	discover(t, table)
	d, err := sampler(t, table, ns.Inode).list(1600, time.Minute)
	top := d.top(1)
	want := []remediate.Talker{{Address: "fd63:7478::3", Entries: 900}, {Address: "198.18.0.9", Entries: 400}, {Address: "fd63:7478::1", Entries: 300}}
	if err != nil || fmt.Sprint(top) != fmt.Sprint(want) {
		t.Errorf("%v, %v; want %v", top, err, want)
	}
}

func TestTopOfTheOwnNamespace(t *testing.T) {
	_, ns := testkernel.First(t)
	send(t, ns, testkernel.UDP, 4, 5000)
	table := open(t, "/")
	top, err := sampler(t, table, table.Own().Inode).Top(5000)
	if err != nil || len(top) == 0 || top[0].Address != testkernel.UDP.Source(4).String() || !near(top[0].Entries, 5000) {
		t.Errorf("%v, %v", top, err)
	}
}

// TestTopOfANamespaceThatGoes: a look at one that is gone says so, whichever way in there was, and a look that is over
// does not keep it.
func TestTopOfANamespaceThatGoes(t *testing.T) {
	outer := testkernel.Scratch(t)
	name := fmt.Sprintf("ctw-%d-top", os.Getpid())
	ip(t, "netns", "add", name)
	gone := false
	t.Cleanup(func() {
		if !gone {
			ip(t, "netns", "del", name)
		}
	})
	ip(t, "-n", outer.Name, "link", "add", "watched", "type", "veth", "peer", "name", "inner", "netns", name)
	sleep := unshared(t)
	table := open(t, "/")
	mounted, lived := sampler(t, table, named(t, table, name)), sampler(t, table, inodeOf(t, sleep.Process.Pid))
	for range 5 {
		for _, s := range []*Sampler{mounted, lived} {
			if top, err := s.Top(0); err != nil || len(top) != 0 {
				t.Errorf("%v, %v", top, err)
			}
		}
	}
	ip(t, "netns", "del", name)
	gone = true
	stop(sleep)
	testhost.Eventually(t, "the veth disappears", func() bool {
		return exec.Command("ip", "-n", outer.Name, "link", "show", "watched").Run() != nil
	})
	for _, s := range []*Sampler{mounted, lived} {
		if top, err := s.Top(100); !errors.Is(err, ErrGone) {
			t.Errorf("%v, %v; want ErrGone", top, err)
		}
	}
	if _, err := table.Sampler(1); !errors.Is(err, ErrGone) {
		t.Errorf("one that was never there: %v", err)
	}
	atHome(t, table)
}

// TestTopLeavesNoThreadBehind has several goroutines look into namespaces, as the agent does beside its loop's readings.
func TestTopLeavesNoThreadBehind(t *testing.T) {
	ns, second := testkernel.Scratch(t), testkernel.Scratch(t)
	table := open(t, "/")
	discover(t, table)
	send(t, ns, testkernel.UDP, 0, 50)
	send(t, second, testkernel.UDP, 6, 50)
	failed := make(chan error, 2) // one for each goroutine
	for inode, want := range map[uint64]string{ns.Inode: "198.18.0.8", second.Inode: "198.18.0.14"} {
		s := sampler(t, table, inode)
		go func() {
			for range 50 {
				if top, err := s.Top(50); err != nil || len(top) != 1 || top[0].Address != want {
					failed <- fmt.Errorf("%v, %w; want %s", top, err, want)
					return
				}
			}
			failed <- nil
		}()
	}
	for range 100 {
		if r, err := table.Read(ns.Inode, true); err != nil || r.Blind || r.Count != 50 {
			t.Error(r, err)
		}
	}
	if err := errors.Join(<-failed, <-failed); err != nil {
		t.Error(err)
	}
	atHome(t, table)
}

// atHome expects all threads of this process in its own namespace.
func atHome(t *testing.T, table *Table) {
	t.Helper()
	home := fmt.Sprintf("net:[%d]", table.Own().Inode)
	testhost.Eventually(t, "all threads are at home", func() bool {
		links, err := filepath.Glob("/proc/self/task/*/ns/net")
		if err != nil || len(links) == 0 {
			t.Fatal(links, err)
		}
		for _, link := range links {
			if at, err := os.Readlink(link); err == nil && at != home {
				return false
			}
		}
		return true
	})
}

// BenchmarkTop takes samples of a table of 200,000.
func BenchmarkTop(b *testing.B) {
	lock := testkernel.Hold(b)
	ns := testkernel.Scratch(b)
	if err := lock.SetMax(400_000); err != nil {
		b.Fatal(err)
	}
	for from := range 5 {
		send(b, ns, testkernel.Established, from, 40_000)
	}
	table := open(b, "/")
	discover(b, table)
	s := sampler(b, table, ns.Inode)
	b.ReportAllocs()
	user, system := times(b)
	for b.Loop() {
		if top, err := s.Top(200_000); err != nil || len(top) != 5 || !near(top[0].Entries, 40_000) {
			b.Fatal(top, err)
		}
	}
	user2, system2 := times(b)
	b.ReportMetric(float64((user2-user).Microseconds())/float64(b.N), "user-µs/op")
	b.ReportMetric(float64((system2-system).Microseconds())/float64(b.N), "kernel-µs/op")
}

// times are what this process has used of CPUs.
func times(b *testing.B) (user, system time.Duration) {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano()), time.Duration(u.Stime.Nano())
}
