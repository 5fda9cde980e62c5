package watcher

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestHeraldTellsOfCopies(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		want bool
	}{
		"numbered": {"kern.log.1", true},
		"dated":    {"kern.log-20260301", true},
		"packed":   {"kern.log.1.gz", true},
		"another":  {"kern.log.swp", false},
		"the log":  {"kern.log", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			hung(t, watched{dirs: []string{dir}})
			h := herald{path: filepath.Join(dir, "kern.log")}
			defer h.close()
			h.hang([]string{dir})
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
	h := herald{path: filepath.Join(dir, "kern.log")}
	defer h.close()
	h.hang([]string{dir})
	if err := first(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := h.wait(t.Context(), 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	h.hang([]string{dir})
	if err := os.WriteFile(h.path+".1", nil, 0o600); err != nil {
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
	l := newNumbered(t)
	l.add(5)
	l.start()
	l.untilCaughtUp()
	for n := range times {
		held := time.Now()
		l.until("it is quiet", func() bool { return time.Since(held) > quietAfter+3*pollEvery })
		l.copy(fmt.Sprintf("-202601%02d", n+1))
		l.add(burst)
		time.Sleep(20 * time.Millisecond)
		if err := os.Truncate(l.path, 0); err != nil {
			t.Fatal(err)
		}
		l.add(5)
		l.untilLine(l.n)
	}
	if missing := l.missing(); missing > times*burst/2 || l.twice() > 0 {
		t.Errorf("%d of %d lines were not read, %d read twice", missing, times*burst, l.twice())
	}
}
