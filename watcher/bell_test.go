package watcher

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestBellRings(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(log string) error
		want bool
	}{
		"a line":       {func(log string) error { return appendTo(log, "line\n") }, true},
		"truncated":    {func(log string) error { return os.Truncate(log, 1) }, true},
		"renamed":      {func(log string) error { return os.Rename(log, log+".1") }, true},
		"removed":      {os.Remove, true},
		"a new file":   {func(log string) error { return os.WriteFile(log+".1", nil, 0o600) }, true},
		"another file": {func(log string) error { return appendTo(filepath.Join(filepath.Dir(log), "other"), "line\n") }, false},
		"only read":    {func(log string) error { _, err := os.ReadFile(log); return err }, false},
		"nothing":      {func(string) error { return nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			log := filepath.Join(dir, "kern.log")
			for _, name := range []string{"kern.log", "other"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte("old\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			b := hung(t, watched{files: []string{log}, dirs: []string{dir}})
			if err := c.do(log); err != nil {
				t.Fatal(err)
			}
			wait := 200 * time.Millisecond
			if c.want {
				wait = time.Minute // it is over at once, or the test fails late
			}
			if rang, err := b.wait(t.Context(), wait); err != nil || rang != c.want {
				t.Errorf("rang: %v, %v; want %v", rang, err, c.want)
			}
		})
	}
}

// hung is a bell, or a test that is skipped where not all is told of the temporary directory's file system.
func hung(t *testing.T, on watched) *bell {
	t.Helper()
	b, err := hangUp(on)
	if errors.Is(err, errNoEvents) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	return b
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func TestBellEndsWithItsContext(t *testing.T) {
	b := hung(t, watched{dirs: []string{t.TempDir()}})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := b.wait(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
}

func TestNoBellWhereNotAllIsTold(t *testing.T) {
	if _, err := hangUp(watched{dirs: []string{"/proc"}}); !errors.Is(err, errNoEvents) {
		t.Errorf("error = %v", err)
	}
	if _, err := hangUp(watched{dirs: []string{filepath.Join(t.TempDir(), "none")}}); err == nil {
		t.Error("a bell on a directory that does not exist")
	}
}

// TestPaceWithoutABell has nothing that could ring: the looks go on at their usual distance.
func TestPaceWithoutABell(t *testing.T) {
	p := newPace(func() watched { return watched{dirs: []string{"/proc"}} }, BeatEvery)
	defer p.close()
	p.stirred = time.Now().Add(-time.Hour)
	for range 3 {
		if err := p.wait(t.Context(), false, time.Hour); err != nil {
			t.Fatal(err)
		}
		if p.bell != nil {
			t.Fatal("it has a bell")
		}
	}
}

// TestSyslogQuietThenRotatedTwice rotates a file that nobody looks at any more, twice in a row, with lines in each.
func TestSyslogQuietThenRotatedTwice(t *testing.T) {
	l := newNumbered(t)
	l.add(3)
	l.start()
	l.untilCaughtUp()
	for range 3 {
		held := time.Now()
		l.until("it is quiet", func() bool { return time.Since(held) > quietAfter+3*pollEvery })
		l.add(2)
		l.rename(".2")
		l.add(4)
		l.rename(".1")
		l.add(1)
		l.untilLine(l.n)
		if err := os.Remove(l.path + ".1"); err != nil {
			t.Fatal(err)
		}
	}
	l.wantAll()
}
