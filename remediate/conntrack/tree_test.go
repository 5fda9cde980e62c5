package conntrack

import (
	"errors"
	"io/fs"
	"maps"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/remediate"
)

// host is a small host with the module loaded, as files.
func host() map[string]string {
	return map[string]string{
		"proc/self/ns/net":    "-> net:[4026531840]",
		"proc/self/mountinfo": "22 1 254:0 / / rw - ext4 /dev/vda rw\n",
		countFile:             "1234\n",
		maxFile:               "65536\n",
		oldMaxFile:            "65536\n",
		bucketsFile:           "16384\n",
		statFile:              header6 + rowA,
		meminfoFile:           "MemTotal:       49152 kB\nMemFree:  10 kB\nMemAvailable:   40960 kB\n",
		slabFile:              "256\n",
	}
}

// without returns the host less some files, plus others.
func without(names []string, more map[string]string) map[string]string {
	files := host()
	for _, name := range names {
		delete(files, name)
	}
	maps.Copy(files, more)
	return files
}

func TestLimits(t *testing.T) {
	all := []string{maxFile, oldMaxFile, countFile, bucketsFile, statFile}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  remediate.Limits
		err   error
	}{
		{"both names", host(), remediate.Limits{
			Max: 65536, OldMax: 65536, Buckets: 16384, Writable: true, BucketsWritable: true,
		}, nil},
		{"the second name is not there", without([]string{oldMaxFile}, nil), remediate.Limits{
			Max: 65536, Buckets: 16384, Writable: true, BucketsWritable: true,
		}, nil},
		{"the names disagree", without(nil, map[string]string{oldMaxFile: "70000\n"}), remediate.Limits{
			Max: 65536, OldMax: 70000, Buckets: 16384, Writable: true, BucketsWritable: true,
		}, nil},
		{"a negative number", without(nil, map[string]string{maxFile: "-1\n"}), remediate.Limits{
			Max: 1<<32 - 1, OldMax: 65536, Buckets: 16384, Writable: true, BucketsWritable: true,
		}, nil},
		{"not loaded", without(all, nil), remediate.Limits{}, ErrNotLoaded},
		{"too old", without(all, map[string]string{ancient[0]: "65528\n"}), remediate.Limits{}, ErrTooOld},
		{"too old, the other name", without(all, map[string]string{ancient[1]: "65528\n"}), remediate.Limits{}, ErrTooOld},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := open(t, tree(t, c.files))
			got, err := table.Limits()
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("limits = %+v, %v; want %+v, %v", got, err, c.want, c.err)
			}
			if _, err := table.Read(table.Own().Inode, true); !errors.Is(err, c.err) {
				t.Errorf("a reading gives %v, want %v", err, c.err)
			}
		})
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	table := open(t, tree(t, without([]string{maxFile}, map[string]string{ancient[0]: "65528\n"})))
	_, err := table.Limits()
	for _, want := range []string{"/proc/sys/net/ipv4/ip_conntrack_max is 65528", "update the kernel"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	if !strings.Contains(ErrNotLoaded.Error(), "modprobe nf_conntrack") {
		t.Errorf("error %v does not say what to do", ErrNotLoaded)
	}
}

func TestLimitsRefuseNonsense(t *testing.T) {
	table := open(t, tree(t, without(nil, map[string]string{maxFile: "many\n"})))
	if _, err := table.Limits(); err == nil || !strings.Contains(err.Error(), maxFile) {
		t.Errorf("error = %v, want one that names the file", err)
	}
}

func TestMemory(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name  string
		files map[string]string
		want  remediate.Memory
	}{
		{"all there", host(), remediate.Memory{Total: 48 * mib, Available: 40 * mib, EntryBytes: 512}},
		{"no slab file", without([]string{slabFile}, nil),
			remediate.Memory{Total: 48 * mib, Available: 40 * mib, EntryBytes: 576}},
		{"nonsense in the slab file", without(nil, map[string]string{slabFile: "0\n"}),
			remediate.Memory{Total: 48 * mib, Available: 40 * mib, EntryBytes: 576}},
		{"before 3.14", without(nil, map[string]string{
			meminfoFile: "MemTotal: 1024 kB\nMemFree: 4 kB\nBuffers: 2 kB\nCached: 1 kB\nHugePages_Total: 0\n",
		}), remediate.Memory{Total: mib, Available: 7 << 10, EntryBytes: 512}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := open(t, tree(t, c.files)).Memory()
			if got != c.want || err != nil {
				t.Errorf("memory = %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
	table := open(t, tree(t, without([]string{meminfoFile}, nil)))
	if _, err := table.Memory(); err == nil {
		t.Error("no error without /proc/meminfo")
	}
}

func TestReadOwn(t *testing.T) {
	counters := remediate.Counters{Drop: 10, EarlyDrop: 11, InsertFailed: 9, SearchRestart: 16, ChainLength: 7}
	for _, c := range []struct {
		name     string
		files    map[string]string
		counters bool
		want     remediate.Reading
	}{
		{"the count alone", host(), false, remediate.Reading{}},
		{"with counters", host(), true, remediate.Reading{Counters: counters, CountersOK: true}},
		{"a kernel without the table", without([]string{statFile}, nil), true, remediate.Reading{Blind: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := open(t, tree(t, c.files))
			got, err := table.Read(4026531840, c.counters)
			if err != nil {
				t.Fatal(err)
			}
			want := c.want
			want.Count, want.Max, want.Buckets, want.At = 1234, 65536, 16384, got.At
			want.NetNS = remediate.NetNS{Inode: 4026531840, Name: "init", Owner: "host", Init: true}
			if got != want || got.At.IsZero() {
				t.Errorf("reading = %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestReadManyCPUs(t *testing.T) {
	const cpus = 512
	table := open(t, tree(t, without(nil, map[string]string{statFile: header6 + strings.Repeat(rowA, cpus)})))
	r, err := table.Read(table.Own().Inode, true)
	if err != nil || r.Counters.Drop != 10*cpus {
		t.Errorf("drops = %d, %v; want %d", r.Counters.Drop, err, 10*cpus)
	}
}

func TestReadUnknown(t *testing.T) {
	table := open(t, tree(t, host()))
	if _, err := table.Read(17, true); !errors.Is(err, ErrGone) {
		t.Errorf("error = %v, want ErrGone", err)
	}
}

func TestModuleLoadedLater(t *testing.T) {
	files := host()
	root := tree(t, without([]string{maxFile, oldMaxFile, countFile, bucketsFile, statFile}, nil))
	table := open(t, root)
	if _, err := table.Read(table.Own().Inode, true); !errors.Is(err, ErrNotLoaded) {
		t.Fatalf("error = %v, want ErrNotLoaded", err)
	}
	for _, name := range []string{maxFile, oldMaxFile, countFile, bucketsFile, statFile} {
		put(t, root, name, files[name])
	}
	if r, err := table.Read(table.Own().Inode, true); err != nil || r.Count != 1234 {
		t.Errorf("reading = %+v, %v", r, err)
	}
}

func TestModuleRemovedAndLoadedAgain(t *testing.T) {
	table := open(t, tree(t, host()))
	before, err := table.Read(table.Own().Inode, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.unloaded(fs.ErrNotExist); !errors.Is(err, ErrNotLoaded) { // what the kept files then say
		t.Fatalf("error = %v, want ErrNotLoaded", err)
	}
	after, err := table.Read(table.Own().Inode, true)
	if err != nil {
		t.Fatal(err)
	}
	if want := 2 * before.Counters.Drop; want == 0 || after.Counters.Drop != want {
		t.Errorf("drops = %d, want %d: as many again from zero", after.Counters.Drop, want)
	}
}

func TestOpenNeedsAProc(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"nothing":  {},
		"nonsense": {"proc/self/ns/net": "-> mnt:[5]"},
	} {
		if _, err := Open(tree(t, files), nil); err == nil || !strings.Contains(err.Error(), "network namespace") {
			t.Errorf("%s: error = %v", name, err)
		}
	}
}
