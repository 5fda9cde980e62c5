package replay

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

func TestFamilies(t *testing.T) {
	for _, c := range []struct {
		name  string
		paths string
		want  []string // each family: its path, then its pieces in order
	}{
		{"two logs", "/l/kern.log /l/syslog", []string{"/l/kern.log: /l/kern.log", "/l/syslog: /l/syslog"}},
		{"numbers", "/l/kern.log /l/kern.log.1 /l/kern.log.2.gz /l/kern.log.10.xz",
			[]string{"/l/kern.log: /l/kern.log.10.xz /l/kern.log.2.gz /l/kern.log.1 /l/kern.log"}},
		{"from nought", "/l/messages.0 /l/messages /l/messages.1.bz2", []string{"/l/messages: /l/messages.1.bz2 /l/messages.0 /l/messages"}},
		{"dates", "/l/messages /l/messages-20260308 /l/messages-20260301.zst",
			[]string{"/l/messages: /l/messages-20260301.zst /l/messages-20260308 /l/messages"}},
		{"dates with dashes and times", "/l/a /l/a-2026-03-01T10:00:00 /l/a-2026-03-01", []string{"/l/a: /l/a-2026-03-01 /l/a-2026-03-01T10:00:00 /l/a"}},
		{"seconds", "/l/a /l/a-1772323200 /l/a-1771323200", []string{"/l/a: /l/a-1771323200 /l/a-1772323200 /l/a"}},
		{"one piece keeps its name", "/l/kern.log.3.gz", []string{"/l/kern.log.3.gz: /l/kern.log.3.gz"}},
		{"packed, not rotated", "/l/kern.log.gz", []string{"/l/kern.log.gz: /l/kern.log.gz"}},
		{"folders apart", "/a/kern.log /b/kern.log.1", []string{"/a/kern.log: /a/kern.log", "/b/kern.log.1: /b/kern.log.1"}},
		{"one path in two ways", "/l/./kern.log /l/kern.log.1", []string{"/l/kern.log: /l/kern.log.1 /l/./kern.log"}},
		{"a piece twice", "/l/kern.log.1 /l/kern.log.1.gz /l/kern.log",
			[]string{"/l/kern.log: /l/kern.log.1 /l/kern.log", "/l/kern.log.1.gz: /l/kern.log.1.gz"}},
		{"the same twice", "/l/kern.log /l/kern.log", []string{"/l/kern.log: /l/kern.log"}},
		{"addresses are no numbers", "/l/192.0.2.1 /l/192.0.2.2", []string{"/l/192.0.2.1: /l/192.0.2.1", "/l/192.0.2.2: /l/192.0.2.2"}},
		{"names that end in a number", "/l/web-1 /l/web-2", []string{"/l/web-1: /l/web-1", "/l/web-2: /l/web-2"}},
		{"standard input", "- kern.log", []string{"-: -", "kern.log: kern.log"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, f := range families(inputs(strings.Fields(c.paths)...)) {
				line := f.path + ":"
				for _, p := range f.pieces {
					line += " " + p.Path
				}
				got = append(got, line)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("%q\nwant %q", got, c.want)
			}
		})
	}
}

// TestRunRotated: what an incident counts that goes over the boundary of a rotation.
func TestRunRotated(t *testing.T) {
	older := []string{at(0, message), at(1, message), at(2, "net_ratelimit: 40 callbacks suppressed")}
	newer := []string{at(3, message), at(4, message), at(5, message), at(6, "net_ratelimit: 2 callbacks suppressed")}
	both := append(append([]string{}, older...), newer...)
	type seen struct{ Matches, Suppressed int }
	for _, c := range []struct {
		name  string
		files map[string][]string
		order string // as given
		want  []seen
		total uint64
	}{
		{"two pieces", map[string][]string{"kern.log.1": older, "kern.log": newer}, "kern.log kern.log.1", []seen{{5, 42}}, 5},
		{"two logs", map[string][]string{"syslog": older, "kern.log": both}, "kern.log syslog", []seen{{5, 42}}, 7},
		{"two logs, each in pieces", map[string][]string{"kern.log.1": older, "kern.log": newer, "syslog.1": older, "syslog": newer},
			"kern.log kern.log.1 syslog syslog.1", []seen{{5, 42}}, 10},
		{"a copy", map[string][]string{"kern.log.1": older, "kern.log": both}, "kern.log.1 kern.log", []seen{{5, 42}}, 7},
		{"numbers that run the other way", map[string][]string{"kern.log.1": older, "kern.log.2": newer}, "kern.log.1 kern.log.2",
			[]seen{{3, 40}}, 5},
		{"since boot", map[string][]string{"dmesg.0": {"[ 10.000000] " + message}, "dmesg": {"[ 10.000000] " + message}}, "dmesg dmesg.0",
			[]seen{{1, 0}}, 2},
		{"another incident before", map[string][]string{"kern.log.1": {at(0, message)}, "kern.log": {at(300, message)}},
			"kern.log kern.log.1", []seen{{1, 0}, {1, 0}}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, lines := range c.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var paths []string
			for _, name := range strings.Fields(c.order) {
				paths = append(paths, filepath.Join(dir, name))
			}
			report := run(t, config("hv042"), paths...)
			var got []seen
			for _, in := range report.Incidents {
				got = append(got, seen{in.Matches, in.Suppressed})
			}
			if !reflect.DeepEqual(got, c.want) || report.Matches != c.total {
				t.Errorf("%+v of %d matches, want %+v of %d: %+v", got, report.Matches, c.want, c.total, report.Incidents)
			}
			for i, s := range report.Sources {
				if s.Path != paths[i] {
					t.Errorf("source %d is %s, want the order given", i, s.Path)
				}
			}
		})
	}
}

// TestRunRotatedYear: the year given is that of the oldest piece, whatever the order on the command line.
func TestRunRotatedYear(t *testing.T) {
	dir := t.TempDir()
	for name, when := range map[string]string{
		"kern.log.2": "Dec 30 10:00:00", "kern.log.1": "Dec 31 23:59:59", "kern.log": "Jan  1 00:00:01",
	} {
		line := when + " hv042 kernel: " + message + "\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := config("hv042")
	cfg.Year = 2019
	got := run(t, cfg, filepath.Join(dir, "kern.log"), filepath.Join(dir, "kern.log.1"), filepath.Join(dir, "kern.log.2")).Incidents
	if len(got) != 2 || got[1].Matches != 2 || got[1].Opened.Year() != 2019 || got[1].Closed.Year() != 2020 {
		t.Errorf("%+v", got)
	}
}

func TestFamilyStreams(t *testing.T) {
	f := families(inputs("/l/a.1", "/l/a"))[0]
	start := time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC)
	after := func(s int, host string) remediate.Match {
		return remediate.Match{Host: host, Time: start.Add(time.Duration(s) * time.Second), Mono: time.Hour}
	}
	f.next()
	f.stream(f.pieces[0], after(100, "x"))
	f.next()
	for _, c := range []struct {
		name string
		m    remediate.Match
		want string
	}{
		{"later", after(105, "x"), "/l/a"},
		{"out of order in the same piece", after(101, "x"), "/l/a"},
		{"earlier", after(99, "x"), "/l/a (overlap)"},
		{"the same", after(100, "x"), "/l/a (overlap)"},
		{"the same second", remediate.Match{Host: "x", Time: start.Add(100 * time.Second), Mono: time.Hour + 1}, "/l/a"},
		{"the same second, nothing more known", remediate.Match{Host: "x", Time: start.Add(100 * time.Second)}, "/l/a"},
		{"another host's", after(94, "y"), "/l/a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := f.stream(f.pieces[1], c.m); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
