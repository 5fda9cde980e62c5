package conntrack

import (
	"errors"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testkernel"
)

func TestObjects(t *testing.T) {
	const slabinfo = "slabinfo - version: 2.1\n# name <active_objs> <num_objs>\nnf_conntrack_expect 5 9 232 17 1\n" +
		"nf_conntrack        2100   5120    256   16    1 : tunables    0    0    0\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  uint64 // 0: an error
	}{
		{"in sysfs", without(nil, map[string]string{objectsFile: "1338 N0=1000 N1=338\n", slabinfoFile: slabinfo}), 1338},
		{"in slabinfo", without(nil, map[string]string{slabinfoFile: slabinfo}), 2100},
		{"nonsense in sysfs", without(nil, map[string]string{objectsFile: "\n", slabinfoFile: slabinfo}), 2100},
		{"not in slabinfo", without(nil, map[string]string{slabinfoFile: "nf_conntrack_expect 5 9 232 17 1\n\n"}), 0},
		{"nonsense in slabinfo", without(nil, map[string]string{slabinfoFile: "nf_conntrack\n"}), 0},
		{"nowhere", host(), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := open(t, tree(t, c.files)).Objects()
			if got != c.want || (err == nil) != (c.want > 0) {
				t.Errorf("objects = %d, %v; want %d", got, err, c.want)
			}
		})
	}
}

// TestObjectsOfTheKernel fills a namespace: its entries are among the kernel's, whoever else has some.
func TestObjectsOfTheKernel(t *testing.T) {
	ns := testkernel.Scratch(t)
	table := open(t, "/")
	if _, err := ns.Burst(t.Context(), 5000); err != nil {
		t.Fatal(err)
	}
	n, err := table.Objects()
	if err != nil {
		t.Fatal(err)
	}
	count, err := ns.Count()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d objects, %d entries of the namespace", n, count)
	if n < count || count < 4000 {
		t.Errorf("%d objects, fewer than the %d entries of one namespace", n, count)
	}
}

func TestRoom(t *testing.T) {
	for _, c := range []struct {
		name, text string // empty: no file
		want       uint64
	}{
		{"one node", "208 N0=208\n", 208},
		{"two nodes", "1338 N0=1000 N1=338\n", 1338},
		{"no node", "0\n", 0},
		{"cut short", "17", 17},
		{"nonsense", "N0=3\n", none},
		{"nothing", "\n", none},
		{"nowhere", "", none},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := host()
			if c.text != "" {
				files[roomFile] = c.text
			}
			table := open(t, tree(t, files))
			for range 2 {
				if got, err := table.Room(); (err == nil) != (c.want != none) || err == nil && got != c.want {
					t.Errorf("room for %d, %v; want %d", got, err, c.want)
				}
			}
		})
	}
}

// none: the kernel does not tell.
const none = 1 << 63

// TestRoomComesAndGoes has the module be loaded after the start and removed again: its file is looked for now and then.
func TestRoomComesAndGoes(t *testing.T) {
	root := tree(t, host())
	now := time.Now()
	table, err := Open(root, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	is := func(when string, after time.Duration, want uint64, told bool) {
		t.Helper()
		now = now.Add(after)
		if got, err := table.Room(); got != want || (err == nil) != told {
			t.Errorf("%s: room for %d, %v; want %d, %v", when, got, err, want, told)
		}
	}
	is("before", 0, 0, false)
	put(t, root, roomFile, "32\n")
	is("just loaded", roomAgain-1, 0, false)
	is("loaded", 1, 32, true)
	put(t, root, roomFile, "") // a file of a module that was removed reads nothing, or fails
	is("removed", 0, 0, false)
	put(t, root, roomFile, "64\n")
	is("just loaded again", 0, 0, false)
	is("loaded again", roomAgain, 64, true)
}

// TestRoomOfTheKernel fills a namespace: the kernel has had to make room for its entries.
func TestRoomOfTheKernel(t *testing.T) {
	ns := testkernel.Scratch(t)
	table := open(t, "/")
	before, err := table.Room()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ns.Burst(t.Context(), 5000); err != nil {
		t.Fatal(err)
	}
	room, err := table.Room()
	if err != nil {
		t.Fatal(err)
	}
	count, err := ns.Count()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("room for %d before and %d after, %d entries of the namespace", before, room, count)
	if room < count || count < 4000 {
		t.Errorf("room for %d, less than the %d entries of one namespace", room, count)
	}
}

// TestLimit reads what all namespaces share by itself.
func TestLimit(t *testing.T) {
	root := tree(t, host())
	table := open(t, root)
	if got, err := table.Limit(); got != 65536 || err != nil {
		t.Errorf("limit %d, %v; want 65536", got, err)
	}
	unloaded := tree(t, without([]string{maxFile, oldMaxFile, countFile, bucketsFile, statFile}, nil))
	if _, err := open(t, unloaded).Limit(); !errors.Is(err, ErrNotLoaded) {
		t.Errorf("%v, want that it is not loaded", err)
	}
}
