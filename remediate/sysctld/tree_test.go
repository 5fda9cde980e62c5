package sysctld

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/confdir"
	"github.com/ctwarden/ctwarden/internal/testhost"
)

const (
	newName = "net.netfilter.nf_conntrack_max"
	oldName = "net.nf_conntrack_max"
)

// say writes an answer as "value file:line", or "none".
func say(s Setting, ok bool) string {
	if !ok {
		return "none"
	}
	return fmt.Sprintf("%s %s:%d", s.Value, s.File, s.Line)
}

func TestWinner(t *testing.T) {
	tests := []struct {
		name    string
		files   map[string]string
		systemd string
		procps  string
	}{
		{"nothing", nil, "none", "none"},
		{"one file", map[string]string{"etc/sysctl.d/10-a.conf": "# c\n\nnet.netfilter.nf_conntrack_max = 101\n"},
			"101 /etc/sysctl.d/10-a.conf:3", "101 /etc/sysctl.d/10-a.conf:3"},
		{"later name wins over the directory", map[string]string{
			"etc/sysctl.d/10-a.conf": newName + "=1", "usr/lib/sysctl.d/20-b.conf": newName + "=2"},
			"2 /usr/lib/sysctl.d/20-b.conf:1", "2 /usr/lib/sysctl.d/20-b.conf:1"},
		{"of one name the higher directory is read alone", map[string]string{
			"run/sysctl.d/50.conf": newName + "=3", "usr/local/lib/sysctl.d/50.conf": newName + "=4",
			"usr/lib/sysctl.d/50.conf": newName + "=5", "lib/sysctl.d/50.conf": newName + "=6"},
			"3 /run/sysctl.d/50.conf:1", "3 /run/sysctl.d/50.conf:1"},
		{"masked by a link to /dev/null", map[string]string{
			"etc/sysctl.d/50.conf": "-> /dev/null", "usr/lib/sysctl.d/50.conf": newName + "=5"}, "none", "none"},
		{"masked by an empty file", map[string]string{
			"etc/sysctl.d/50.conf": "", "usr/lib/sysctl.d/50.conf": newName + "=5"}, "none", "none"},
		{"masked by a dangling link", map[string]string{
			"etc/sysctl.d/50.conf": "-> nowhere", "usr/lib/sysctl.d/50.conf": newName + "=5"}, "none", "none"},
		{"masked by a directory", map[string]string{
			"etc/sysctl.d/50.conf": "dir/", "usr/lib/sysctl.d/50.conf": newName + "=5"}, "none", "none"},
		{"sysctl.conf is procps' last word", map[string]string{
			"etc/sysctl.conf": newName + "=7", "etc/sysctl.d/99-zz.conf": newName + "=8"},
			"8 /etc/sysctl.d/99-zz.conf:1", "7 /etc/sysctl.conf:1"},
		{"sysctl.conf by a link", map[string]string{
			"etc/sysctl.conf": newName + "=7", "etc/sysctl.d/99-sysctl.conf": "-> ../sysctl.conf"},
			"7 /etc/sysctl.d/99-sysctl.conf:1", "7 /etc/sysctl.conf:1"},
		{"an absolute link stays below the root", map[string]string{
			"etc/real": newName + "=9", "etc/sysctl.d/a.conf": "-> /etc/real"},
			"9 /etc/sysctl.d/a.conf:1", "9 /etc/sysctl.d/a.conf:1"},
		{"a hidden file", map[string]string{"etc/sysctl.d/.a.conf": newName + "=1"}, "none", "1 /etc/sysctl.d/.a.conf:1"},
		{"other suffixes", map[string]string{
			"etc/sysctl.d/a.conf~": newName + "=1", "etc/sysctl.d/b.conf.bak": newName + "=1",
			"etc/sysctl.d/README.sysctl": newName + "=1"}, "none", "none"},
		{"slashes", map[string]string{"etc/sysctl.d/a.conf": "/net/netfilter/nf_conntrack_max=2"},
			"2 /etc/sysctl.d/a.conf:1", "2 /etc/sysctl.d/a.conf:1"},
		{"slash after a dot is part of the name", map[string]string{"etc/sysctl.d/a.conf": "net.netfilter/nf_conntrack_max=2"},
			"none", "none"},
		{"ignored failure", map[string]string{"etc/sysctl.d/a.conf": "-" + newName + "=2"},
			"2 /etc/sysctl.d/a.conf:1", "2 /etc/sysctl.d/a.conf:1"},
		{"a blank after the dash", map[string]string{"etc/sysctl.d/a.conf": "- " + newName + "=2"},
			"2 /etc/sysctl.d/a.conf:1", "none"},
		{"glob", map[string]string{"etc/sysctl.d/a.conf": "net.*.nf_conntrack_m?x = 2"},
			"2 /etc/sysctl.d/a.conf:1", "2 /etc/sysctl.d/a.conf:1"},
		{"glob does not cross a slash", map[string]string{"etc/sysctl.d/a.conf": "net.*max = 2"}, "none", "none"},
		{"negated class", map[string]string{"etc/sysctl.d/a.conf": "net.[!x]*.nf_conntrack_max = 2"},
			"2 /etc/sysctl.d/a.conf:1", "2 /etc/sysctl.d/a.conf:1"},
		{"exact beats a later glob", map[string]string{
			"etc/sysctl.d/a.conf": newName + "=2", "etc/sysctl.d/b.conf": "net.netfilter.* = 3"},
			"2 /etc/sysctl.d/a.conf:1", "2 /etc/sysctl.d/a.conf:1"},
		{"exact and a rooted glob", map[string]string{
			"etc/sysctl.d/a.conf": newName + "=2", "etc/sysctl.d/b.conf": "/net/netfilter/* = 3"},
			"2 /etc/sysctl.d/a.conf:1", "3 /etc/sysctl.d/b.conf:1"},
		{"excluded from globs", map[string]string{
			"etc/sysctl.d/a.conf": "net.netfilter.* = 3", "etc/sysctl.d/b.conf": "-" + newName}, "none", "none"},
		{"exclusion after an assignment", map[string]string{"etc/sysctl.d/a.conf": newName + "=2\n-" + newName},
			"none", "2 /etc/sysctl.d/a.conf:1"},
		{"inline comment is part of the value", map[string]string{"etc/sysctl.d/a.conf": newName + "= 5 # five"},
			"5 # five /etc/sysctl.d/a.conf:1", "5 # five /etc/sysctl.d/a.conf:1"},
		{"carriage returns", map[string]string{"etc/sysctl.d/a.conf": "; c\r\n" + newName + "=5\r\n"},
			"5 /etc/sysctl.d/a.conf:2", "5 /etc/sysctl.d/a.conf:2"},
		{"the same value keeps its place", map[string]string{
			"etc/sysctl.d/a.conf": newName + "=5\n" + newName + "=5"},
			"5 /etc/sysctl.d/a.conf:1", "5 /etc/sysctl.d/a.conf:2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			testhost.Plant(t, root, tt.files)
			tree := load(t, root)
			if got := say(tree.Winner(newName, Systemd)); got != tt.systemd {
				t.Errorf("systemd: %s, want %s", got, tt.systemd)
			}
			if got := say(tree.Winner("net/netfilter/nf_conntrack_max", Procps)); got != tt.procps {
				t.Errorf("procps: %s, want %s", got, tt.procps)
			}
		})
	}
}

// What systemd up to 244 reads differently, by its source.
func TestWinnerOfSystemd244(t *testing.T) {
	tests := []struct{ name, text, now, then string }{
		{"a key", newName + " = 1", "1 /etc/sysctl.d/a.conf:1", "1 /etc/sysctl.d/a.conf:1"},
		{"a pattern is a key that there is not", "net.netfilter.* = 1", "1 /etc/sysctl.d/a.conf:1", "none"},
		{"a key without a value is a mistake", newName + " = 1\n-" + newName, "none", "1 /etc/sysctl.d/a.conf:1"},
		{"a blank after the dash is of the key", "- " + newName + " = 1", "1 /etc/sysctl.d/a.conf:1", "none"},
		{"a carriage return ends no line", "x = 1\r" + newName + " = 2", "2 /etc/sysctl.d/a.conf:2", "none"},
		{"but goes with the blanks", newName + " = 2\r\n", "2 /etc/sysctl.d/a.conf:1", "2 /etc/sysctl.d/a.conf:1"},
		{"a key that begins with a separator is another one", newName + " = 1\n/net/netfilter/nf_conntrack_max = 2\n" + newName + " = 3",
			"3 /etc/sysctl.d/a.conf:3", "3 /etc/sysctl.d/a.conf:3"},
		{"and stays where it was", newName + " = 1\n/net/netfilter/nf_conntrack_max = 2\n" + newName + " = 1",
			"1 /etc/sysctl.d/a.conf:3", "2 /etc/sysctl.d/a.conf:2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			testhost.Plant(t, root, map[string]string{"etc/sysctl.d/a.conf": tt.text, "etc/sysctl.d/.b.conf": newName + " = 9", "etc/sysctl.conf": newName + " = 9"})
			tree := load(t, root)
			for l, want := range map[Loader]string{Systemd: tt.now, Systemd244: tt.then} {
				if got := say(tree.Winner(newName, l)); got != want {
					t.Errorf("loader %d: %s, want %s", l, got, want)
				}
			}
		})
	}
}

func TestSystemdBelow(t *testing.T) {
	for name, want := range map[string]Loader{
		"usr/lib/systemd/libsystemd-shared-239.so": Systemd244, "lib/systemd/libsystemd-shared-245.so": Systemd, "usr/lib/systemd/libsystemd-core-239.so": Systemd,
		"usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so": Systemd,
	} {
		root := t.TempDir()
		testhost.Plant(t, root, map[string]string{name: ""})
		r, err := os.OpenRoot(root)
		if err != nil {
			t.Fatal(err)
		}
		if got := SystemdBelow(r); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
		r.Close()
	}
}

// Two names of one variable: the last write stays. A repeated value does not move a key in systemd's order.
func TestWritesOfTwoNames(t *testing.T) {
	root := t.TempDir()
	testhost.Plant(t, root, map[string]string{
		"etc/sysctl.d/20.conf": newName + "=100", "etc/sysctl.d/21.conf": oldName + "=200",
		"etc/sysctl.d/22.conf": newName + "=100",
	})
	tree := load(t, root)
	for l, want := range map[Loader]string{Systemd: "100 200", Procps: "100 200 100"} {
		var got []string
		for _, w := range tree.Writes(l, newName, oldName) {
			got = append(got, w.Value)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%v writes %v, want %s", l, got, want)
		}
	}
	without := tree.Without("/etc/sysctl.d/21.conf")
	if _, ok := without.Winner(oldName, Systemd); ok {
		t.Error("the file that was taken out still counts")
	}
	if _, ok := tree.Winner(oldName, Systemd); !ok {
		t.Error("taking a file out changed the tree it was taken from")
	}
}

// What Without removes may bring a file of the same name back.
func TestWithoutUncovers(t *testing.T) {
	root := t.TempDir()
	testhost.Plant(t, root, map[string]string{"etc/sysctl.d/a.conf": newName + "=1", "usr/lib/sysctl.d/a.conf": newName + "=2"})
	tree := load(t, root)
	if h := tree.Hidden(); len(h) != 1 || h[0].Path != "/usr/lib/sysctl.d/a.conf" {
		t.Errorf("hidden: %v", h)
	}
	if got := say(tree.Without("/etc/sysctl.d/a.conf").Winner(newName, Systemd)); got != "2 /usr/lib/sysctl.d/a.conf:1" {
		t.Error(got)
	}
}

func TestUsrMergeIsReadOnce(t *testing.T) {
	for _, target := range []string{"usr/lib", "/usr/lib"} {
		root := t.TempDir()
		testhost.Plant(t, root, map[string]string{"usr/lib/sysctl.d/a.conf": newName + "=1", "lib": "-> " + target})
		tree := load(t, root)
		if all := tree.All(newName); len(all) != 1 {
			t.Errorf("link to %s: %v", target, all)
		}
		if h := tree.Hidden(); len(h) != 0 {
			t.Errorf("link to %s: hidden %v", target, h)
		}
	}
}

func TestAllShowsEveryLine(t *testing.T) {
	root := t.TempDir()
	testhost.Plant(t, root, map[string]string{
		"etc/sysctl.d/a.conf": newName + "=1\nnet.core.somaxconn=5\nnet.netfilter.*=2\n-" + newName,
		"etc/sysctl.conf":     newName + "=3",
	})
	var got []string
	for _, s := range load(t, root).All(newName) {
		got = append(got, fmt.Sprintf("%d:%s:%s", s.Line, s.Glob, s.Value))
	}
	want := []string{"1::1", "3:net.netfilter.*:2", "4::", "1::3"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestProblems(t *testing.T) {
	root := t.TempDir()
	testhost.Plant(t, root, map[string]string{
		"etc/sysctl.d/a.conf": "garbage\n" + newName + "=1\n= 4\n",
		"etc/sysctl.d/b.conf": "-> b.conf",
		"etc/sysctl.d/c.conf": "dir/",
		"etc/sysctl.d/e.conf": strings.Repeat("#", confdir.MaxFile+1),
	})
	if err := syscall.Mkfifo(filepath.Join(root, "etc/sysctl.d/d.conf"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range load(t, root).Problems(Systemd) {
		got = append(got, fmt.Sprintf("%s:%d", filepath.Base(p.File), p.Line))
	}
	want := []string{"a.conf:1", "a.conf:3", "b.conf:0", "c.conf:0", "d.conf:0", "e.conf:0"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if _, err := Load(filepath.Join(root, "nowhere")); err == nil {
		t.Error("a root that is not there is no error")
	}
}

// The kernel's answers were had by writing each to net.netfilter.nf_conntrack_max.
func TestNumber(t *testing.T) {
	for value, want := range map[string]int64{
		"262144": 262144, "262144 # c": 262144, "262144\tx": 262144, "0x40000": 262144, "01000000": 262144, "0": 0,
		"": -1, "+5": -1, "-5": -1, "262144,5": -1, "0b11": -1, "0o7": -1, "1_000": -1, "x": -1, "08": -1,
	} {
		n, ok := Setting{Value: value}.Number()
		if ok != (want >= 0) || ok && int64(n) != want {
			t.Errorf("%q: %d, %v; want %d", value, n, ok, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", newName + " = 1\n", "-a.b\n- c = d\n", "# x\n;y\n\r\n", "a/b.c=1\x00=2\rz", "net.*.[!a]?=3", "=\n==\n-=\n.=/\n",
		"\xff\xfe=\xff", "a\\=b", "[=1\n[]=2\n[^=3",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, l := range []Loader{Systemd, Procps, Procps3, Procps316, Systemd244} {
			settings, problems := parse(data, l)
			n := len(lines(data, l))
			for _, s := range settings {
				if s.Line < 1 || s.Line > n || strings.HasPrefix(s.Key, "/") || strings.ContainsAny(s.Key, "\n=") ||
					strings.Contains(s.Value, "\n") {
					t.Fatalf("%v: %+v", l, s)
				}
				matches(s.Key, "net/netfilter/nf_conntrack_max")
				s.Number()
			}
			for _, p := range problems {
				if p.Line < 1 || p.Line > n {
					t.Fatalf("%v: %+v", l, p)
				}
			}
		}
	})
}
