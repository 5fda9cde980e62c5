package apply

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/sysctld"
)

const ourFile = "etc/sysctl.d/99-zz-ctwarden.conf"

// effective is a step that may be persisted.
var effective = remediate.Step{ID: "step-1", IncidentID: "inc-1", From: 65536, To: 131072, Reason: remediate.ReasonFull}

func (f *fake) ours() string {
	data, err := os.ReadFile(filepath.Join(f.root, ourFile))
	if err != nil {
		return ""
	}
	return string(data)
}

// settings are the file's lines that are no comment.
func settings(file string) string {
	var out []string
	for line := range strings.Lines(file) {
		if !strings.HasPrefix(line, "#") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return strings.Join(out, "; ")
}

func TestPersistWrites(t *testing.T) {
	f := newFake(t, 131072, 16384)
	old := syscall.Umask(0o077) // a service's; the file and its directory are for all to read
	defer syscall.Umask(old)
	got, err := f.Persist(effective, PersistMeta{})
	if err != nil || got.Path != "/"+ourFile || got.Max != 131072 || got.Withdrawn != nil || got.Overridden != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	want := "# ctwarden-persisted: 1\n" +
		"# Written by ctwarden 1.2.3, which replaces it: put settings of your own into another file.\n" +
		"# at: 2026-03-04T05:06:07Z\n# host: node7\n# machine id: 0123456789abcdef0123456789abcdef\n" +
		"# limit: from 65536 to 131072 entries\n# why: full (the kernel is refusing connections)\n# incident: inc-1\n# step: step-1\n" +
		"# To undo this: ctwarden revert\n" +
		"net.netfilter.nf_conntrack_max = 131072\nnet.nf_conntrack_max = 131072\n"
	if f.ours() != want {
		t.Errorf("got\n%s\nwant\n%s", f.ours(), want)
	}
	for name, mode := range map[string]os.FileMode{ourFile: 0o644, "etc/sysctl.d": 0o755} {
		if fi, err := os.Stat(filepath.Join(f.root, name)); err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, fi.Mode(), err)
		}
	}
	p, there, err := f.Persisted()
	wantP := Persisted{Max: 131072, MachineID: f.cfg.MachineID, Host: "node7", At: at, StepID: "step-1", Path: "/" + ourFile}
	if err != nil || !there || p != wantP {
		t.Errorf("%+v, %v, %v", p, there, err)
	}
	removed, err := f.Unpersist()
	if again, err2 := f.Unpersist(); !removed || again || errors.Join(err, err2) != nil || f.ours() != "" {
		t.Errorf("%v, %v, %v, %v", removed, again, err, err2)
	}
}

// Nothing that a name or a reason contains becomes a setting.
func TestPersistHeaderIsOneLineEach(t *testing.T) {
	f := newFake(t, 131072, 16384)
	f.cfg.Host, f.cfg.Version, f.cfg.MachineID = "a\nkernel.panic = 1", "1\r\nx = 2", "m\x00\nz = 3\n"
	s := effective
	s.IncidentID, s.Reason = "i\nnet.ipv4.ip_forward = 1", "odd\nnet.core.somaxconn = 1"
	if _, err := f.Persist(s, PersistMeta{Buckets: 262144}); err != nil {
		t.Fatal(err)
	}
	want := KeyMax + " = 131072; " + KeyOldMax + " = 131072; " + KeyBuckets + " = 262144"
	if got := settings(f.ours()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if p, there, err := f.Persisted(); err != nil || !there || p.Buckets != 262144 {
		t.Errorf("%+v, %v, %v", p, there, err)
	}
}

func TestPersistBesideOthers(t *testing.T) {
	const (
		systemd = sysctld.Systemd
		procps  = sysctld.Procps
	)
	// older are files of RHEL 8: systemd 239 and procps 3.3.15, which know no patterns; the latter looks into /run first.
	older := func(files map[string]string) map[string]string {
		files["usr/lib/systemd/libsystemd-shared-239.so"], files["usr/lib64/libprocps.so.7.1.0"] = "", ""
		return files
	}
	tests := []struct {
		name      string
		files     map[string]string
		withdrawn *Withdrawn
		overrides []Override
	}{
		{"nobody else", nil, nil, nil},
		{"an earlier file sets less", map[string]string{"etc/sysctl.d/10-a.conf": KeyMax + "=70000"}, nil, nil},
		{"an earlier file sets more", map[string]string{"etc/sysctl.d/10-a.conf": "# x\n" + KeyMax + "=200000"},
			&Withdrawn{"/etc/sysctl.d/10-a.conf:2", 200000, systemd}, nil},
		{"under the old name", map[string]string{"usr/lib/sysctl.d/10-a.conf": KeyOldMax + "=200000"},
			&Withdrawn{"/usr/lib/sysctl.d/10-a.conf:1", 200000, systemd}, nil},
		{"by a glob", map[string]string{"etc/sysctl.d/10-a.conf": "net.netfilter.nf_conntrack_m* = 200000"},
			&Withdrawn{"/etc/sysctl.d/10-a.conf:1", 200000, systemd}, nil},
		{"more, but not the last word of theirs", map[string]string{
			"etc/sysctl.d/10-a.conf": KeyMax + "=200000", "etc/sysctl.d/20-b.conf": KeyMax + "=70000"}, nil, nil},
		{"more, but nothing that the kernel takes", map[string]string{
			"etc/sysctl.d/10-a.conf": KeyMax + "=70000", "etc/sysctl.d/20-b.conf": KeyMax + "=99999999999"}, nil, nil},
		{"as much", map[string]string{"etc/sysctl.conf": KeyMax + "=131072"}, nil, nil},
		{"sysctl.conf sets more", map[string]string{"etc/sysctl.conf": KeyOldMax + " = 200000"},
			&Withdrawn{"/etc/sysctl.conf:1", 200000, procps}, nil},
		{"sysctl.conf sets less and is last with procps", map[string]string{"etc/sysctl.conf": KeyMax + " = 70000"},
			nil, []Override{{procps, "/etc/sysctl.conf:1", 70000}}},
		{"a later file sets less", map[string]string{"etc/sysctl.d/zz.conf": KeyMax + " = 70000"}, nil,
			[]Override{{systemd, "/etc/sysctl.d/zz.conf:1", 70000}, {procps, "/etc/sysctl.d/zz.conf:1", 70000}}},
		{"more by a glob that older ones do not know", older(map[string]string{
			"etc/sysctl.d/10-a.conf": "net.netfilter.nf_conntrack_m* = 200000"}), nil, nil},
		{"more in /run, which older ones of procps read", older(map[string]string{
			"run/sysctl.d/10-a.conf": KeyMax + " = 200000", "etc/sysctl.d/10-a.conf": KeyMax + " = 70000"}),
			&Withdrawn{"/run/sysctl.d/10-a.conf:1", 200000, sysctld.Procps316}, nil},
		{"less after a bare key, which older ones take for nothing", older(map[string]string{
			"etc/sysctl.d/zz.conf": KeyMax + " = 70000\n-" + KeyMax}), nil,
			[]Override{{systemd, "/etc/sysctl.d/zz.conf:1", 70000}, {procps, "/etc/sysctl.d/zz.conf:1", 70000}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t, 131072, 16384)
			for name, text := range tt.files {
				f.plant(name, text+"\n")
			}
			// A file of ours from before, which a withdrawal has to remove.
			f.plant(ourFile, f.text(100000, 0))
			got, err := f.Persist(effective, PersistMeta{})
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got.Withdrawn) != fmt.Sprint(tt.withdrawn) || fmt.Sprint(got.Overridden) != fmt.Sprint(tt.overrides) {
				t.Errorf("withdrawn %v, overridden %v; want %v, %v", got.Withdrawn, got.Overridden, tt.withdrawn, tt.overrides)
			}
			if (f.ours() == "") != (tt.withdrawn != nil) || (got.Path == "") != (tt.withdrawn != nil) {
				t.Errorf("path %q, file %q", got.Path, f.ours())
			}
		})
	}
}

// text is what our file looks like with a limit.
func (f *fake) text(limit, buckets uint64) string {
	p := Persisted{Max: limit, Buckets: buckets, MachineID: f.cfg.MachineID, Host: f.cfg.Host, At: at}
	return string(p.render(effective, "1.2.2"))
}

func TestPersistOverOurOwn(t *testing.T) {
	down := effective
	down.From, down.To = 262144, 131072
	tests := []struct {
		name     string
		old      string // %m is the machine's id
		step     remediate.Step
		meta     PersistMeta
		settings string
		kept     bool
	}{
		{"raises", "100000 0", effective, PersistMeta{}, "131072 0", false},
		{"keeps more", "200000 0", effective, PersistMeta{}, "200000 0", true},
		{"keeps more and adds the hash", "200000 0", effective, PersistMeta{Buckets: 512}, "200000 512", false},
		{"keeps the hash", "100000 1024", effective, PersistMeta{}, "131072 1024", false},
		{"an undo lowers it", "262144 1024", down, PersistMeta{}, "131072 1024", false},
		{"a clone's is not carried over", "clone", effective, PersistMeta{}, "131072 0", false},
		{"a damaged one is replaced", "damaged", effective, PersistMeta{}, "131072 0", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t, 131072, 16384)
			f.plant(ourFile, f.fromShort(tt.old))
			got, err := f.Persist(tt.step, tt.meta)
			p, there, perr := f.Persisted()
			if errors.Join(err, perr) != nil || !there || fmt.Sprint(p.Max, " ", p.Buckets) != tt.settings {
				t.Fatalf("%v, %v, %+v", err, perr, p)
			}
			if got.Kept != tt.kept || got.Max != p.Max || got.Buckets != p.Buckets || strings.Contains(f.ours(), "1.2.2") != tt.kept {
				t.Errorf("%+v, file\n%s", got, f.ours())
			}
		})
	}
}

func (f *fake) fromShort(s string) string {
	switch s {
	case "clone":
		return strings.Replace(f.text(500000, 1024), f.cfg.MachineID, "ffff", 1)
	case "damaged":
		return strings.Replace(f.text(500000, 0), KeyOldMax+" = 500000", KeyOldMax+" = 4", 1)
	}
	limit, buckets, _ := strings.Cut(s, " ")
	return f.text(atoi(limit), atoi(buckets))
}

// What is not ours is not touched: not replaced, not removed, not through a link.
func TestNotOurs(t *testing.T) {
	for name, plant := range map[string]func(f *fake, p string) error{
		"another's": func(_ *fake, p string) error { return os.WriteFile(p, []byte(KeyMax+" = 5\n"), 0o644) },
		"our mark further down": func(f *fake, p string) error {
			return os.WriteFile(p, []byte("# mine now\n"+f.text(5, 0)), 0o644)
		},
		"empty":               func(_ *fake, p string) error { return os.WriteFile(p, nil, 0o644) },
		"masked":              func(_ *fake, p string) error { return os.Symlink("/dev/null", p) },
		"a link to one of us": func(f *fake, p string) error { f.plant("etc/x", f.text(5, 0)); return os.Symlink("../x", p) },
		"a directory":         func(_ *fake, p string) error { return os.Mkdir(p, 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, 131072, 16384)
			f.plant("etc/sysctl.d/README", "")
			p := filepath.Join(f.root, ourFile)
			if err := plant(f, p); err != nil {
				t.Fatal(err)
			}
			before, _ := os.Lstat(p)
			_, err := f.Persist(effective, PersistMeta{})
			_, err2 := f.Unpersist()
			_, there, err3 := f.Persisted()
			if !errors.Is(err, ErrNotOurs) || !errors.Is(err2, ErrNotOurs) || !errors.Is(err3, ErrNotOurs) || there {
				t.Errorf("%v; %v; %v, %v", err, err2, err3, there)
			}
			after, err := os.Lstat(p)
			if err != nil || !os.SameFile(before, after) || before.ModTime() != after.ModTime() {
				t.Errorf("touched: %v, %v", after, err)
			}
		})
	}
}

func TestPersistedRefuses(t *testing.T) {
	f := newFake(t, 131072, 16384)
	f.plant(ourFile, f.fromShort("clone"))
	p, there, err := f.Persisted()
	if !there || !errors.Is(err, ErrOtherMachine) || p.Max != 500000 || p.MachineID != "ffff" {
		t.Errorf("%+v, %v, %v", p, there, err)
	}
	f.plant(ourFile, f.fromShort("damaged"))
	if _, there, err = f.Persisted(); !there || !errors.Is(err, ErrDamaged) {
		t.Errorf("%v, %v", there, err)
	}
	if removed, err := f.Unpersist(); !removed || err != nil {
		t.Errorf("a damaged file of ours: %v, %v", removed, err)
	}
	for _, n := range []uint64{0, remediate.MaxLimit + 1} {
		if _, err := f.Persist(remediate.Step{From: 1, To: n}, PersistMeta{}); !errors.Is(err, ErrInvalid) || f.ours() != "" {
			t.Errorf("%d: %v", n, err)
		}
	}
}

// Killed before and after the replacement, and at any moment of many: the file is a whole old or a whole new one, and
// nobody who reads meanwhile sees less.
func TestPersistKilled(t *testing.T) {
	f := newFake(t, 131072, 16384)
	f.crash(StageBeforePersist, "persist", "131072")
	if f.ours() != "" {
		t.Errorf("written too early: %s", f.ours())
	}
	f.crash(StageAfterPersist, "persist", "131072")
	if p, _, err := f.Persisted(); err != nil || p.Max != 131072 {
		t.Errorf("%+v, %v", p, err)
	}
	const kills = 25
	reads := 0
	for i := range kills {
		cmd := child("persist", f.root)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// A loop of reads of growing length, so that the kill comes at another moment each time. The last one also waits
		// until a child has written at all: on a busy machine none may have come that far.
		wrote := i < kills-1
		for deadline := time.Now().Add(time.Duration(10+3*i) * time.Millisecond); !wrote || time.Now().Before(deadline); reads++ {
			p, there, err := f.Persisted()
			// The hash in the file never shrinks, the limit of an undo does.
			whole := p.Max == 131072 && p.Buckets == 0 ||
				p.Max%1000 == 0 && p.Buckets%512 == 0 && p.Buckets >= p.Max/1000*512
			if err != nil || !there || !whole {
				t.Errorf("a reader sees %+v, %v, %v\n%s", p, there, err, f.ours())
			}
			wrote = wrote || p.Max != 131072 || time.Since(deadline) > time.Minute
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // by the signal
	}
	if p, there, err := f.Persisted(); err != nil || !there || p.Max%1000 != 0 {
		t.Errorf("the child never wrote: %+v, %v, %v", p, there, err)
	}
	t.Logf("%d reads beside %d killed writers", reads, kills)
	if _, err := f.Persist(effective, PersistMeta{}); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(f.root, "etc/sysctl.d/.*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// childPersist persists one limit after another until it is killed.
func childPersist(args []string) {
	a, err := New(configFor(args[0]))
	if err != nil {
		panic(err)
	}
	for n := uint64(1); ; n = n%900 + 1 {
		// An undo, so that it goes down again too.
		if _, err := a.Persist(remediate.Step{From: 1000000, To: n * 1000}, PersistMeta{Buckets: n * 512}); err != nil {
			panic(err)
		}
	}
}

func TestBootMark(t *testing.T) {
	f := newFake(t, 100, 50)
	if f.BootApplied() {
		t.Error("marked before")
	}
	if err := errors.Join(f.MarkBootApplied(), f.MarkBootApplied()); err != nil || !f.BootApplied() {
		t.Errorf("%v", err)
	}
	f.cfg.BootID = "the next"
	if f.BootApplied() {
		t.Error("the mark outlives the boot")
	}
	if got, err := f.Recover(); err != nil || len(got) != 0 {
		t.Errorf("the mark is taken for an intent: %+v, %v", got, err)
	}
}

func FuzzParsePersisted(f *testing.F) {
	p := Persisted{Max: 5, Buckets: 512, MachineID: "m", Host: "h", At: at}
	f.Add(p.render(effective, "1"))
	f.Add([]byte(mark + "\n" + KeyMax + " = 0\n"))
	f.Add([]byte(mark + "\n" + KeyMax + " = 99999999999999999999\n" + KeyOldMax + "=1\n"))
	f.Add([]byte(mark + "\r\n"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parsePersisted(data)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotOurs) {
				t.Fatal(err)
			}
			return
		}
		if p.Max == 0 || max(p.Max, p.Buckets) > remediate.MaxLimit {
			t.Fatalf("%+v", p)
		}
		again, err := parsePersisted(p.render(effective, "1"))
		if err != nil || again.Max != p.Max || again.Buckets != p.Buckets || again.MachineID != oneLine(p.MachineID) {
			t.Fatalf("%+v became %+v, %v", p, again, err)
		}
	})
}
