package watcher

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestHeraldTellsOfCopies(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		want bool
	}{
		"numbered":  {"kern.log.1", true},
		"dated":     {"kern.log-20260301", true},
		"packed":    {"kern.log.1.gz", false},
		"of a link": {"real.log.1", true},
		"another":   {"kern.log.swp", false},
		"the log":   {"kern.log", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			hung(t, watched{dirs: []string{dir}})
			var h herald
			defer h.close()
			h.hang([]string{filepath.Join(dir, "kern.log"), filepath.Join(dir, "real.log")})
			path := filepath.Join(dir, c.file)
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			wait := 100 * time.Millisecond
			if c.want {
				wait = time.Minute // it is over at once, or the test fails late
			}
			if err := h.wait(t.Context(), wait); err != nil {
				t.Fatal(err)
			}
			if got, err := h.take(t.Context()); err != nil || (got == path) != c.want {
				t.Errorf("told %q, %v", got, err)
			}
			if again, err := h.take(t.Context()); err != nil || again != "" {
				t.Errorf("told %q once more, %v", again, err)
			}
		})
	}
}

// TestHeraldHangsAnew has the directory moved away and made again.
func TestHeraldHangsAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	hung(t, watched{dirs: []string{dir}})
	path := filepath.Join(dir, "kern.log")
	var h herald
	defer h.close()
	h.hang([]string{path})
	if err := first(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := h.wait(t.Context(), 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	h.hang([]string{path})
	if err := os.WriteFile(path+".1", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.wait(t.Context(), time.Minute); err != nil || h.copy == "" {
		t.Errorf("told %q, %v", h.copy, err)
	}
}

// TestSyslogReadsWhatIsBeingCopied has a burst come to a file that was quiet, between its copy and its truncation 20 ms
// later. Looks that are 100 ms apart would find one of five.
func TestSyslogReadsWhatIsBeingCopied(t *testing.T) {
	hung(t, watched{dirs: []string{t.TempDir()}})
	const times, burst = 10, 100
	for name, c := range map[string]struct {
		link string             // what the path is a link to; empty: it is none
		copy func(n int) string // how the copies are called
	}{
		"new names":              {"", func(n int) string { return fmt.Sprintf("-202601%02d", n+1) }},
		"one name, written over": {"", func(int) string { return ".1" }},
		"a link":                 {"real.log", func(n int) string { return fmt.Sprintf(".%d", n+1) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newNumbered(t)
			at := l.path
			if c.link != "" {
				at = filepath.Join(t.TempDir(), c.link)
				if err := first(os.WriteFile(at, nil, 0o600), os.Symlink(at, l.path)); err != nil {
					t.Fatal(err)
				}
			}
			l.add(5)
			l.start()
			l.untilCaughtUp()
			for n := range times {
				held := time.Now()
				l.until("it is quiet", func() bool { return time.Since(held) > quietAfter+3*pollEvery })
				text, err := os.ReadFile(at)
				if err := first(err, os.WriteFile(at+c.copy(n), text, 0o600)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(5 * time.Millisecond)
				l.add(burst)
				time.Sleep(20 * time.Millisecond)
				if err := os.Truncate(at, 0); err != nil {
					t.Fatal(err)
				}
				l.add(5)
				l.untilLine(l.n)
			}
			if missing := l.missing(); missing > times*burst/2 || l.twice() > 0 {
				t.Errorf("%d of %d lines were not read, %d read twice", missing, times*burst, l.twice())
			}
		})
	}
}

// TestSyslogUnfinishedFirstLine has many old files beside one that holds the beginning of a line alone, which grows: they are
// not opened each time.
func TestSyslogUnfinishedFirstLine(t *testing.T) {
	l := newNumbered(t)
	for n := range 500 {
		if err := os.WriteFile(fmt.Sprintf("%s.%d", l.path, n+2), fmt.Appendf(nil, "%d is old\n", n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.add(5)
	l.start()
	l.untilCaughtUp()
	l.rename(".1")
	l.write("")
	wait := func(d time.Duration) {
		begun := time.Now()
		l.until("it is time", func() bool { return time.Since(begun) > d })
	}
	wait(2 * lingerOld)
	before, begun := processorTime(t), time.Now()
	for range 20 {
		l.write("x")
		wait(pollEvery)
	}
	if took, of := processorTime(t)-before, time.Since(begun); took > of/5 {
		t.Errorf("%v of a processor in %v", took, of)
	}
	l.write("\n")
	l.add(1)
	l.untilLine(l.n)
	l.wantAll()
}

// processorTime is what this process has used.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
