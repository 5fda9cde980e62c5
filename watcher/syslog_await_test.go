package watcher

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSyslogIsWaitedFor waits for a path that does not exist, with nothing but the bell to tell of it.
func TestSyslogIsWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		begin  func(l *numbered) error
		appear func(l *numbered) error
	}{
		"a file": {
			func(*numbered) error { return nil },
			func(*numbered) error { return nil },
		},
		"a directory, then a file": {
			func(l *numbered) error { return os.Remove(filepath.Dir(l.path)) },
			func(l *numbered) error { return os.Mkdir(filepath.Dir(l.path), 0o700) },
		},
		"what a link leads to": {
			func(l *numbered) error { return os.Symlink("deep/er/log", l.path) },
			func(l *numbered) error { return os.MkdirAll(filepath.Join(filepath.Dir(l.path), "deep/er"), 0o700) },
		},
		"a file in a directory that was made anew": {
			func(*numbered) error { return nil },
			func(l *numbered) error {
				dir := filepath.Dir(l.path)
				return first(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o700))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hung(t, watched{dirs: []string{t.TempDir()}})
			l := newNumbered(t)
			l.path = filepath.Join(filepath.Dir(l.path), "log", "kern.log")
			l.cfg.Path, l.cfg.Beat = l.path, time.Hour
			if err := os.Mkdir(filepath.Dir(l.path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := c.begin(l); err != nil {
				t.Fatal(err)
			}
			l.start()
			l.until("it is said that there is none", func() bool { return l.state != nil && l.state.Absent })
			if err := c.appear(l); err != nil {
				t.Fatal(err)
			}
			l.add(3)
			l.untilLine(l.n)
			l.wantAll()
		})
	}
}

// first is the first error, if there is any.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestSyslogQuietWithoutLooks has nothing but the bell tell of what comes to a file that has been quiet.
func TestSyslogQuietWithoutLooks(t *testing.T) {
	hung(t, watched{dirs: []string{t.TempDir()}})
	l := newNumbered(t)
	l.cfg.Beat = time.Hour
	l.add(1)
	l.start()
	l.untilCaughtUp()
	held := time.Now()
	l.until("nobody looks any more", func() bool { return time.Since(held) > calmAfter+calmLook })
	l.add(1)
	l.untilLine(l.n)
	l.wantAll()
}

func TestBellWears(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(dir string) error
		worn bool
	}{
		"a file":      {func(dir string) error { return os.WriteFile(filepath.Join(dir, "a"), nil, 0o600) }, false},
		"a directory": {func(dir string) error { return os.Mkdir(filepath.Join(dir, "a"), 0o700) }, true},
		"moved away":  {func(dir string) error { return os.Rename(dir, dir+".old") }, true},
		"removed":     {os.Remove, true},
		"a file, and moved on": {func(dir string) error {
			return first(os.WriteFile(filepath.Join(dir, "a"), nil, 0o600), os.Rename(dir, dir+".old"))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "log")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			b := hung(t, watched{dirs: []string{dir}})
			if err := c.do(dir); err != nil {
				t.Fatal(err)
			}
			if rang, err := b.wait(t.Context(), time.Minute); !rang || err != nil {
				t.Errorf("rang: %v, %v", rang, err)
			}
			if b.worn != c.worn {
				t.Errorf("worn: %v, want %v", b.worn, c.worn)
			}
		})
	}
}

// TestGrowthAfterARest has a burst begin after a long quiet time: the rate is that of the burst.
func TestGrowthAfterARest(t *testing.T) {
	now := time.Now()
	g, length := growth{}, lineLength{lines: 1, bytes: 100}
	g.look(now, 0)
	now = now.Add(time.Hour)
	g.rest(now)
	g.look(now, 1000)
	now = now.Add(busyFor)
	g.look(now, 4000)
	if n := math.Ceil(length.of(g.bytesIn(time.Second))); n != 20 { // 40 in two seconds, none of them in the hour before
		t.Errorf("%.0f lines a second, want 20", n)
	}
	g.rest(now.Add(busyFor / 2)) // it is still being written to
	if n := math.Ceil(length.of(g.bytesIn(time.Second))); n != 20 {
		t.Errorf("%.0f lines a second after a short rest, want 20", n)
	}
}
