package conntrack

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
)

// glancer is a table of this host of which each look is later than the one before by what makes it one of its own.
func glancer(t *testing.T) *Table {
	t.Helper()
	testkernel.Require(t)
	now := time.Now()
	table, err := Open("/", func() time.Time {
		now = now.Add(apart)
		return now
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	discover(t, table)
	return table
}

// quiet waits until a glance finds nothing new: others may make namespaces and start hundreds of processes meanwhile.
func quiet(t *testing.T, table *Table) {
	t.Helper()
	testhost.Eventually(t, "a glance finds nothing new", func() bool {
		if news, told := table.Changed(); !news && told {
			return true
		}
		discover(t, table)
		return false
	})
}

func TestGlance(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T) (inode uint64){
		"a namespace that is mounted": func(t *testing.T) uint64 { return testkernel.Scratch(t).Inode },
		"a process in one of its own": func(t *testing.T) uint64 { return inodeOf(t, unshared(t).Process.Pid) },
	} {
		t.Run(name, func(t *testing.T) {
			table := glancer(t)
			quiet(t, table)
			inode := begin(t)
			if news, _ := table.Changed(); !news {
				t.Fatal("the glance did not see it")
			}
			if _, ok := find(discover(t, table), inode); !ok {
				t.Error("it is not found")
			}
			quiet(t, table)
		})
	}
}

// TestGlanceAtAYoungProcess has a process go into a namespace that it makes, without a fork, after a look at it.
func TestGlanceAtAYoungProcess(t *testing.T) {
	table := glancer(t)
	quiet(t, table)
	inode := mover(t)
	table.Changed()
	moved := inode()
	if news, _ := table.Changed(); !news {
		t.Fatal("the second glance did not see it")
	}
	if _, ok := find(discover(t, table), moved); !ok {
		t.Error("it is not found")
	}
}

// TestLookFindsAnOldProcess has one do so that is not young any more.
func TestLookFindsAnOldProcess(t *testing.T) {
	table := glancer(t)
	inode := mover(t)
	for range 3 {
		quiet(t, table)
	}
	moved := inode()
	if _, ok := find(discover(t, table), moved); !ok {
		t.Error("it is not found")
	}
}

// TestReadingThatLooksAroundIsNews has a reading find a new namespace, since no known way leads into its own any more.
func TestReadingThatLooksAroundIsNews(t *testing.T) {
	table := glancer(t)
	first := unshared(t)
	inode := inodeOf(t, first.Process.Pid)
	discover(t, table)
	quiet(t, table)
	join(t, first.Process.Pid)
	stop(first)
	fresh := inodeOf(t, unshared(t).Process.Pid)
	if r, err := table.Read(inode, true); err != nil || !r.CountersOK {
		t.Fatalf("reading = %+v, %v; want it through the other process", r, err)
	}
	for range 3 {
		if news, told := table.Changed(); !news || !told {
			t.Fatalf("news %v, told %v, before anybody was told of the namespace", news, told)
		}
	}
	if _, ok := find(discover(t, table), fresh); !ok {
		t.Error("it is not found")
	}
	quiet(t, table)
}

// join starts another process in a process's namespace.
func join(t *testing.T, pid int) {
	t.Helper()
	inode := inodeOf(t, pid)
	other := start(t, exec.Command("nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", pid), "sleep", "300"))
	testhost.Eventually(t, "another process is in the namespace", func() bool {
		return inodeOf(t, other.Process.Pid) == inode
	})
}

// mover starts a process that goes into a namespace of its own, without a fork, when it is told to; inode tells it to, and
// returns that namespace.
func mover(t *testing.T) (inode func() uint64) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "read go; exec unshare --net sleep 300")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	link := fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)
	home, err := os.Readlink(link)
	if err != nil {
		t.Fatal(err)
	}
	return func() uint64 {
		if _, err := io.WriteString(in, "go\n"); err != nil {
			t.Fatal(err)
		}
		testhost.Eventually(t, "the process has a namespace of its own", func() bool {
			now, err := os.Readlink(link)
			return err == nil && now != home
		})
		return inodeOf(t, cmd.Process.Pid)
	}
}

// TestGlanceWhereNothingTells has a root without the kernel's own files, and one with a /proc that numbers differently.
func TestGlanceWhereNothingTells(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no load":              without(nil, nil),
		"somebody else's load": without(nil, map[string]string{"proc/loadavg": "0.00 0.00 0.00 1/2 77\n"}),
		"another /proc":        without(nil, map[string]string{"proc/loadavg": "0.00 0.00 0.00 1/2 77\n", "proc/self": "-> 1"}),
	} {
		t.Run(name, func(t *testing.T) {
			files["proc/self/mountinfo"] = ""
			if files["proc/self"] != "" {
				delete(files, "proc/self/mountinfo")
				delete(files, "proc/self/ns/net")
				files["proc/1/mountinfo"], files["proc/1/ns/net"] = "", "-> net:[4026531840]"
			}
			table := open(t, tree(t, files))
			discover(t, table)
			if id, ok := table.lastID(); ok {
				t.Errorf("the last id is %d", id)
			}
			if news, told := table.Changed(); news || told {
				t.Errorf("it says that there is news: %v, %v", news, told)
			}
		})
	}
}

// TestOneVisitToSeveral reads the counters of several namespaces with one thread, and each again at once.
func TestOneVisitToSeveral(t *testing.T) {
	lock := testkernel.Hold(t)
	if err := lock.SetMax(1000); err != nil {
		t.Fatal(err)
	}
	busy, idle, gone := testkernel.Scratch(t), testkernel.Scratch(t), testkernel.Scratch(t)
	table := open(t, "/")
	discover(t, table)
	result, err := busy.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: 1500})
	if err != nil || result.Refused == 0 {
		t.Fatalf("%+v, %v; want some refused", result, err)
	}
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	kept := table.spaces[gone.Inode]
	testhost.Eventually(t, "the namespace goes", func() bool { return !kept.same(&sighting{}) })
	own := table.Own().Inode
	table.Together(func() {
		table.Visit([]uint64{busy.Inode, idle.Inode, gone.Inode, own, 1})
		if n := len(table.visited); n != 2 {
			t.Errorf("%d namespaces were visited, want 2", n)
		}
		for range 2 {
			if r, err := table.Read(busy.Inode, true); err != nil || r.Counters.Drop != result.Refused || r.Count != 1000 {
				t.Errorf("reading = %+v, %v; want 1000 entries and %d drops", r, err, result.Refused)
			}
			if r, err := table.Read(idle.Inode, true); err != nil || !r.CountersOK || r.Counters.Drop != 0 || r.Count != 0 {
				t.Errorf("reading = %+v, %v; want nothing", r, err)
			}
		}
		if len(table.visited) != 0 {
			t.Error("a second reading is of the same visit")
		}
		if _, err := table.Read(gone.Inode, true); err == nil {
			t.Error("a namespace that is gone is read")
		}
	})
}
