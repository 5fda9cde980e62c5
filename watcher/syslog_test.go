package watcher

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/remediate"
)

const testHost = "h1"

// kernLine is a line of this host's kernel with the n-th time since boot.
func kernLine(n int) string { return kernLineAt(time.Now(), testHost, n) }

func kernLineAt(at time.Time, host string, n int) string {
	return fmt.Sprintf("%s %s kernel: [%d.%06d] %s\n", at.Format(time.RFC3339Nano), host, n/1e6, n%1e6, tableFull)
}

// logged is a syslog file under test.
type logged struct {
	t    *testing.T
	path string
	cfg  SyslogConfig
}

func newLogged(t *testing.T) *logged {
	l := &logged{t: t, path: filepath.Join(t.TempDir(), "kern.log")}
	l.cfg = SyslogConfig{Path: l.path, Host: testHost, Lookback: 10 * time.Minute}
	return l
}

// write appends text to the file, making it where it is not there.
func (l *logged) write(text string) {
	l.t.Helper()
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		l.t.Fatal(err)
	}
}

func (l *logged) rename(suffix string) {
	l.t.Helper()
	if err := os.Rename(l.path, l.path+suffix); err != nil {
		l.t.Fatal(err)
	}
}

func (l *logged) run() *running {
	l.t.Helper()
	s, err := NewSyslog(l.cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	return run(l.t, s)
}

// restart stops r and starts again at the position that was last sent, as a restart of the agent does.
func (l *logged) restart(r *running, position []byte) *running {
	l.t.Helper()
	r.stop(l.t)
	l.cfg.Position = position
	return l.run()
}

// caughtUp waits until all that is there has been read.
func caughtUp(b Batch) bool { return b.CaughtUp }

// matches waits for n matches.
func matches(n int) func(Batch) bool {
	return func(b Batch) bool { return len(b.Matches) >= n && b.CaughtUp }
}

// wantMonos fails unless the matches are those of the lines first to last, each once and in order.
func wantMonos(t *testing.T, got []remediate.Match, first, last int) {
	t.Helper()
	for i, m := range got {
		if want := time.Duration(first+i) * time.Microsecond; m.Mono != want {
			t.Fatalf("match %d is line %v, want %v", i, m.Mono, want)
		}
	}
	if len(got) != last-first+1 {
		t.Fatalf("%d matches, want %d", len(got), last-first+1)
	}
}

func TestSyslogFirstStart(t *testing.T) {
	l := newLogged(t)
	now := time.Now()
	l.write(kernLineAt(now.Add(-time.Hour), testHost, 1) + kernLineAt(now.Add(-time.Minute), testHost, 2) + "a line without end")
	r := l.run()
	b := r.next(t, caughtUp)
	wantMonos(t, b.Matches, 2, 2)
	if b.State == nil || !b.State.Up || b.Position.Data == nil || b.Path != l.path {
		t.Errorf("first batch %+v", b)
	}
	if m := b.Matches[0]; m.Source != remediate.SourceSyslog || m.Path != l.path || m.Host != testHost || m.Text != tableFull {
		t.Errorf("match %+v", m)
	}
	start := time.Now()
	l.write(" has one now\n" + kernLine(3))
	b = r.next(t, matches(1))
	wantMonos(t, b.Matches, 3, 3)
	if took := time.Since(start); took > 50*pollEvery {
		t.Errorf("a line took %v", took)
	}
}

func TestSyslogNoLookback(t *testing.T) {
	l := newLogged(t)
	l.cfg.Lookback = 0
	l.write(kernLine(1))
	r := l.run()
	b := r.next(t, caughtUp)
	l.write(kernLine(2))
	wantMonos(t, append(b.Matches, r.next(t, matches(1)).Matches...), 2, 2)
}

func TestSyslogRestart(t *testing.T) {
	tests := []struct {
		name string
		stop func(l *logged) // what happens while it does not run, behind line 1
		last int
		lost bool
	}{
		{"nothing", func(*logged) {}, 1, false},
		{"more lines", func(l *logged) { l.write(kernLine(2) + kernLine(3)) }, 3, false},
		{"renamed once", func(l *logged) {
			l.write(kernLine(2))
			l.rename(".1")
			l.write(kernLine(3))
		}, 3, false},
		{"renamed twice", func(l *logged) {
			l.write(kernLine(2))
			l.rename(".2")
			l.write(kernLine(3))
			l.rename(".1")
			l.write(kernLine(4))
		}, 4, false},
		{"renamed to a date, nothing new yet", func(l *logged) {
			l.write(kernLine(2))
			l.rename("-20260102")
		}, 2, false},
		{"copied and truncated", func(l *logged) {
			l.write(kernLine(2))
			l.copyTruncate(".1")
			l.write(kernLine(3))
		}, 3, false},
		{"truncated", func(l *logged) {
			if err := os.Truncate(l.path, 0); err != nil {
				l.t.Fatal(err)
			}
			l.write(kernLine(2))
		}, 2, true},
		{"rotated and gone", func(l *logged) {
			l.rename(".1")
			l.write(kernLine(2)) // before the removal, so that the inode is not used again
			if err := os.Remove(l.path + ".1"); err != nil {
				l.t.Fatal(err)
			}
		}, 2, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLogged(t)
			l.write(kernLine(1))
			r := l.run()
			b := r.next(t, caughtUp)
			wantMonos(t, b.Matches, 1, 1)
			r.stop(t)
			tt.stop(l)
			r = l.restart(r, b.Position.Data)
			b = r.next(t, matches(tt.last-1))
			wantMonos(t, b.Matches, 2, tt.last)
			if lost := b.Stats.LostText != ""; lost != tt.lost {
				t.Errorf("lost %q, want a loss: %v", b.Stats.LostText, tt.lost)
			}
		})
	}
}

func (l *logged) copyTruncate(suffix string) {
	l.t.Helper()
	l.copy(suffix)
	if err := os.Truncate(l.path, 0); err != nil {
		l.t.Fatal(err)
	}
}

func (l *logged) copy(suffix string) {
	l.t.Helper()
	data, err := os.ReadFile(l.path)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(l.path+suffix, data, 0o600); err != nil {
		l.t.Fatal(err)
	}
}

func TestSyslogRotatedWhileRunning(t *testing.T) {
	l := newLogged(t)
	l.write(kernLine(1))
	// The writer keeps the old file open for a while after the rotation, as rsyslog does until it is told.
	writer, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	r := l.run()
	b := r.next(t, matches(1))
	l.rename(".1")
	l.write("")
	if _, err := writer.WriteString(kernLine(2)); err != nil {
		t.Fatal(err)
	}
	b.Matches = append(b.Matches, r.next(t, matches(1)).Matches...)
	if _, err := writer.WriteString(kernLine(3) + strings.TrimSuffix(kernLine(4), "\n")); err != nil {
		t.Fatal(err)
	}
	l.write(kernLine(5))
	l.rename(".new.1") // and rotated again at once
	l.write(kernLine(6))
	b.Matches = append(b.Matches, r.next(t, func(b Batch) bool {
		return len(b.Matches) > 0 && b.Matches[len(b.Matches)-1].Mono == 6*time.Microsecond
	}).Matches...)
	// Line 5 stands in a file whose name is no rotated one's, so it is found only if it was seen at the path.
	var monos []time.Duration
	for _, m := range b.Matches {
		if m.Mono != 5*time.Microsecond {
			monos = append(monos, m.Mono/time.Microsecond)
		}
	}
	if fmt.Sprint(monos) != "[1ns 2ns 3ns 4ns 6ns]" {
		t.Errorf("matches %v", monos)
	}
}

func TestSyslogTwoRotationsBetweenPolls(t *testing.T) {
	l := newLogged(t)
	l.write(kernLine(1))
	r := l.run()
	b := r.next(t, matches(1))
	l.write(kernLine(2))
	l.rename(".2")
	l.write(kernLine(3))
	l.rename(".1")
	l.write(kernLine(4))
	wantMonos(t, append(b.Matches, r.next(t, matches(3)).Matches...), 1, 4)
}

func TestSyslogTruncatedWhileRunning(t *testing.T) {
	l := newLogged(t)
	l.write(kernLine(1))
	r := l.run()
	b := r.next(t, matches(1))
	l.write(kernLine(2))
	l.copyTruncate(".1")
	l.write(kernLine(3) + kernLine(4) + kernLine(5)) // longer than before: the size alone does not tell
	b = add(b, r.next(t, matches(4)))
	wantMonos(t, b.Matches, 1, 5)
	if b.Stats.Lost != 0 || b.Stats.LostText != "" {
		t.Errorf("lost %d %q, and nothing is", b.Stats.Lost, b.Stats.LostText)
	}
}

// TestSyslogHole truncates a file under a program that does not append: its next line leaves a hole in front.
func TestSyslogHole(t *testing.T) {
	l := newLogged(t)
	l.write(kernLine(1))
	r := l.run()
	b := r.next(t, matches(1))
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(kernLine(2)+kernLine(3)), 3<<30); err != nil {
		t.Fatal(err)
	}
	wantMonos(t, append(b.Matches, r.next(t, matches(2)).Matches...), 1, 3)
}

func TestSyslogLongLines(t *testing.T) {
	l := newLogged(t)
	r := l.run()
	r.next(t, caughtUp)
	l.write(kernLine(1))
	b := r.next(t, matches(1))
	long := strings.Repeat("x", maxLine)
	l.write(long + tableFull + "\n" + kernLine(2) + strings.Repeat(long, 8) + kernLine(0) + kernLine(3))
	b = add(b, r.next(t, matches(2)))
	wantMonos(t, b.Matches, 1, 3)
	l.write(strings.Repeat(long, 20)) // without end
	b = r.next(t, func(b Batch) bool { return bytes.Contains(b.Position.Data, []byte(`"skip":true`)) })
	r = l.restart(r, b.Position.Data)
	r.next(t, caughtUp)
	l.write(kernLine(0) + kernLine(4))
	wantMonos(t, r.next(t, matches(1)).Matches, 4, 4)
}

// TestSyslogBacklog reads more than a block, which is scanned, with a line on each border.
func TestSyslogBacklog(t *testing.T) {
	l := newLogged(t)
	l.write(kernLine(0))
	r := l.run()
	b := r.next(t, caughtUp)
	r.stop(t)
	const n = 30000
	var text strings.Builder
	for i := range n {
		text.WriteString(kernLine(i + 1))
	}
	l.write(text.String())
	r = l.restart(r, b.Position.Data)
	b = r.next(t, matches(n))
	wantMonos(t, b.Matches, 1, n)
	if b.Stats.Matches != n || b.Stats.Records != n || b.Stats.Bytes != uint64(text.Len()) {
		t.Errorf("stats %+v of %d bytes", b.Stats, text.Len())
	}
}

func TestSyslogNotThere(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "none"), filepath.Join(dir, "none", "none"), dir, fifo} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			s, err := NewSyslog(SyslogConfig{Path: path, Host: testHost})
			if err != nil {
				t.Fatal(err)
			}
			b := run(t, s).next(t, caughtUp)
			if b.State == nil || b.State.Up || !strings.Contains(b.State.Problem, path) || b.State.Remedy == "" {
				t.Errorf("state %+v", b.State)
			}
			s, err = NewSyslog(SyslogConfig{Path: path, Required: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Run(t.Context(), make(chan Batch)); err == nil {
				t.Error("a required file that cannot be read is no error")
			}
		})
	}
}

func TestSyslogAppears(t *testing.T) {
	l := newLogged(t)
	r := l.run()
	if b := r.next(t, caughtUp); b.State == nil || b.State.Up {
		t.Fatalf("state %+v", b.State)
	}
	old := kernLineAt(time.Now().Add(-24*time.Hour), testHost, 1)
	l.write(old + kernLine(2))
	b := r.next(t, matches(2))
	wantMonos(t, b.Matches, 1, 2) // it is new, so all of it counts
	if b.State == nil || !b.State.Up {
		t.Errorf("state %+v", b.State)
	}
}

func TestSyslogBadPosition(t *testing.T) {
	if _, err := NewSyslog(SyslogConfig{Path: "/x", Position: []byte("[]")}); err == nil {
		t.Error("a damaged position was taken")
	}
}

func TestSyslogOtherHosts(t *testing.T) {
	l := newLogged(t)
	now := time.Now()
	l.write(kernLineAt(now, "h2", 1) + kernLineAt(now, "h3.example.org", 2))
	r := l.run()
	b := r.next(t, caughtUp)
	if b.State == nil || b.State.Up || !strings.Contains(b.State.Problem, testHost) {
		t.Fatalf("state %+v", b.State)
	}
	if len(b.Matches) != 0 || b.Stats.OtherHost != 2 {
		t.Errorf("%d matches, other host %d", len(b.Matches), b.Stats.OtherHost)
	}
	l.write(kernLineAt(now, "H1.example.org", 3))
	b = r.next(t, func(b Batch) bool { return b.State != nil && b.State.Up })
	wantMonos(t, b.Matches, 3, 3)
	r = l.restart(r, b.Position.Data)
	if b := r.next(t, caughtUp); b.State == nil || !b.State.Up {
		t.Errorf("after a restart behind mixed lines: state %+v", b.State)
	}
}

// TestSyslogForged sees that lines of other tags count for nothing.
func TestSyslogForged(t *testing.T) {
	l := newLogged(t)
	r := l.run()
	r.next(t, caughtUp)
	stamp := time.Now().Format(time.RFC3339Nano)
	l.write(fmt.Sprintf("%s h1 sshd[1]: %s\n%s h1 kernel[1]: %s\n", stamp, tableFull, stamp, tableFull) + kernLine(1))
	b := r.next(t, matches(1))
	if len(b.Matches) != 1 || b.Stats.NotKernel != 2 {
		t.Errorf("%d matches, not kernel %d", len(b.Matches), b.Stats.NotKernel)
	}
}
