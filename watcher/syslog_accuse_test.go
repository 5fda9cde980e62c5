package watcher

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// byLook is a numbered file that is looked at when the test says so, and never in between.
type byLook struct {
	*numbered
	s *Syslog
}

// newByLook has read 5 lines of a file that was quiet since. It is about to count a line for parts of lines that were lost, so
// that every accusation is told.
func newByLook(t *testing.T) *byLook {
	t.Helper()
	l := &byLook{numbered: newNumbered(t)}
	l.add(5)
	s, err := NewSyslog(l.cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.owed = 1 - leastUnseen/2
	l.s, l.reader = s, &running{out: make(chan Batch, 100)}
	s.send = newSender(l.reader.out, s.cfg.Now, "syslog", l.path)
	s.buf = make([]byte, markSize+blockSize)
	if err := s.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.closeAll(); err != nil {
			t.Error(err)
		}
	})
	l.look()
	return l
}

// look is lookAtOnce where what was rotated away was quiet for long.
func (l *byLook) look() {
	l.t.Helper()
	for _, f := range l.s.files {
		f.grown = time.Time{}
	}
	l.lookAtOnce()
}

// lookAtOnce has the reader look once, and takes what it sends.
func (l *byLook) lookAtOnce() {
	l.t.Helper()
	if err := l.s.look(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	for len(l.reader.out) > 0 {
		l.book(<-l.reader.out)
	}
}

// age makes everything that was seen of how the live file is written to older, as though that were so long ago.
func (l *byLook) age(by time.Duration) {
	g := &l.s.files[len(l.s.files)-1].growth
	for _, at := range []*time.Time{&g.looked, &g.grew, &g.from.at, &g.before.at} {
		if !at.IsZero() {
			*at = at.Add(-by)
		}
	}
}

// create rotates with create, and has the new file seen, which is empty.
func (l *byLook) create(suffix string) {
	l.t.Helper()
	l.rename(suffix)
	l.write("")
	l.look()
}

const oldLines = "2026-01-02T03:04:05Z h1 cron[1]: a line of long ago, of no interest to anybody any more\n"

// old puts an old file beside the live one, which has the time that it had.
func (l *byLook) old(suffix string) {
	l.t.Helper()
	l.put(suffix, strings.Repeat(oldLines, 5))
	l.setTime(suffix, time.Now().Add(-48*time.Hour))
}

func (l *byLook) setTime(suffix string, to time.Time) {
	l.t.Helper()
	if err := os.Chtimes(l.path+suffix, to, to); err != nil {
		l.t.Fatal(err)
	}
}

// truncateQuietly copies and truncates the live file while nobody writes to it, and has that seen.
func (l *byLook) truncateQuietly(suffix string) {
	l.t.Helper()
	l.age(time.Minute)
	l.look()
	l.copyTruncate(suffix)
	l.look()
	l.look() // the copy is left, and the file is empty
}

// TestSyslogAccused puts files beside one that is empty, or is truncated: only where one of them may be a copy of what
// came to it since it was last looked at is it said that lines may be destroyed.
func TestSyslogAccused(t *testing.T) {
	tests := []struct {
		name string
		do   func(l *byLook)
		told int
		text string
	}{
		{"old one unpacked with the packed one kept", func(l *byLook) {
			l.old(".3")
			pack(l.t, l.path+".3", ".gz")
			l.truncateQuietly(".1")
			if out, err := exec.Command("gzip", "-dk", l.path+".3.gz").CombinedOutput(); err != nil {
				l.t.Fatalf("%v: %s", err, out)
			}
		}, 0, ""},
		{"old one put back", func(l *byLook) {
			l.truncateQuietly(".2")
			l.old(".1")
		}, 0, ""},
		{"old one put back, and seen before a line came", func(l *byLook) {
			l.truncateQuietly(".2")
			l.old(".1")
			l.look()
		}, 0, ""},
		{"one that was there before, and was missed as it was renamed", func(l *byLook) {
			l.put(".missed", oldLines)
			for begin := time.Now(); time.Since(begin) < 2*fileTick; { // births are told in ticks too
				runtime.Gosched()
			}
			l.create(".2")
			if err := os.Rename(l.path+".missed", l.path+".1"); err != nil {
				l.t.Fatal(err)
			}
			l.setTime(".1", time.Now())
		}, 0, ""},
		{"old one put back beside a file that was created", func(l *byLook) {
			l.create(".1")
			l.old(".2")
		}, 0, ""},
		{"old one put back as the newest beside a file that was created", func(l *byLook) {
			l.create(".2")
			l.old(".1")
		}, 0, ""},
		{"copy of a file that was created", func(l *byLook) {
			l.create(".2")
			l.add(5)
			l.copyTruncate(".1")
		}, 1, "was copied and truncated while"},
		{"old one put back beside a file that was created and is not begun yet", func(l *byLook) {
			l.add(1)
			l.look()
			l.rename(".1")
			l.add(1)
			l.lookAtOnce()
			l.old(".2")
		}, 0, ""},
		{"copy of a file that was created, and empty when it is seen", func(l *byLook) {
			l.create(".2")
			l.age(time.Minute)
			l.add(5)
			l.copyTruncate(".1")
			l.setTime(".1", time.Now().Add(-3*time.Second))
			l.look()
		}, 1, "was copied and truncated while"},
		{"written anew from an old one, looked at since", func(l *byLook) {
			l.truncateQuietly(".2")
			l.age(time.Minute)
			l.put(".1", oldLines)
			l.setTime(".1", time.Now().Add(-3*time.Second))
			l.look()
		}, 0, ""},
		{"written anew from an old one beside a file that was created, looked at since", func(l *byLook) {
			l.create(".2")
			l.age(time.Minute)
			l.put(".1", oldLines)
			l.setTime(".1", time.Now().Add(-3*time.Second))
			l.look()
		}, 0, ""},
		{"old one put back, and truncated while quiet", func(l *byLook) {
			l.old(".2")
			l.truncateQuietly(".1")
		}, 0, ""},
		{"old one put back behind a busy truncation", func(l *byLook) {
			l.add(5)
			l.look()
			l.copyTruncate(".1")
			l.look()
			l.look()
			l.old(".2")
		}, 1, "was copied and truncated while"},
		{"old one put back, and truncated while busy", func(l *byLook) {
			l.old(".2")
			l.add(5)
			l.look()
			l.copyTruncate(".1")
		}, 1, "was copied and truncated while"},
		{"copy", func(l *byLook) {
			l.truncateQuietly(".2")
			l.add(5)
			l.copyTruncate(".1")
		}, 1, "was copied and truncated while"},
		{"copy, and empty when it is seen", func(l *byLook) {
			l.truncateQuietly(".2")
			l.age(time.Minute)
			l.add(5)
			l.copyTruncate(".1")
			l.setTime(".1", time.Now().Add(-3*time.Second))
			l.look()
		}, 1, "was copied and truncated while"},
		{"copy that was packed", func(l *byLook) {
			l.truncateQuietly(".2")
			l.add(5)
			l.copyTruncate(".1")
			pack(l.t, l.path+".1", ".gz")
		}, 1, "was copied and truncated while"},
		{"copy with the time in whole seconds", func(l *byLook) {
			l.truncateQuietly(".2")
			l.add(5)
			l.copyTruncate(".1")
			l.setTime(".1", time.Now().Truncate(time.Second))
		}, 1, "was copied and truncated while"},
		{"two copies, and an old one put back", func(l *byLook) {
			l.truncateQuietly(".4")
			l.old(".3")
			l.add(5)
			l.copyTruncate(".2")
			l.add(7)
			l.copyTruncate(".1")
		}, 1, "was copied and truncated 2 times while"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			needPacker(t, ".gz")
			l := newByLook(t)
			tt.do(l)
			l.add(1)
			for range 5 {
				l.look()
			}
			if l.told != tt.told || (l.lost > 0) != (tt.told > 0) || l.lost > 10 || !strings.Contains(l.lostText, tt.text) {
				t.Errorf("told %d times, lost %d %q; want %d times, %q", l.told, l.lost, l.lostText, tt.told, tt.text)
			}
			l.wantAll()
		})
	}
}

// TestSyslogHeldUp copies and truncates a file that was not looked at for 8 s, since nobody took what was read. At 100
// lines a second 800 came since, and the copy has them: they are not counted as lost, but where nobody can tell.
func TestSyslogHeldUp(t *testing.T) {
	const held, rate = 8, 100 // seconds, lines a second
	tests := []struct {
		name  string
		made  func(l *byLook) // what is done to the copy
		since bool            // what came since the last look is counted
	}{
		{"copy as it was made", func(*byLook) {}, false},
		{"packed copy", func(l *byLook) { pack(l.t, l.path+".1", ".gz") }, false},
		{"packed copy with the time of the packing", func(l *byLook) {
			pack(l.t, l.path+".1", ".gz")
			l.setTime(".1.gz", time.Now())
		}, true},
		{"copy of a time to come", func(l *byLook) { l.setTime(".1", time.Now().Add(time.Hour)) }, false},
		{"copy older than the last look", func(l *byLook) { l.setTime(".1", time.Now().Add(-time.Hour)) }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			needPacker(t, ".gz")
			l := newByLook(t)
			l.add(rate)
			l.look()
			g := &l.s.files[0].growth
			g.before = growthPoint{at: g.looked.Add(-time.Second), total: g.total - int64(rate*len(kernLine(l.n)))}
			l.age(held * time.Second)
			l.add(held * rate)
			l.copyTruncate(".1")
			tt.made(l)
			l.add(1)
			for range 5 {
				l.look()
			}
			l.wantAll()
			if l.told != 1 || l.lost == 0 {
				t.Fatalf("told %d times, lost %d %q; want once, with how many lines", l.told, l.lost, l.lostText)
			}
			if l.lost > 10*held*rate {
				t.Errorf("%d lines counted as lost, and about %d came", l.lost, held*rate)
			}
			if since := l.lost > held*rate*3/4; since != tt.since {
				t.Errorf("%d lines counted as lost; want what came since the last look: %v", l.lost, tt.since)
			}
		})
	}
}

// TestClockSetAtCopytruncate has the wall clock set an hour forth between a copy and its truncation: what is counted as lost
// rests on how long that really took.
func TestClockSetAtCopytruncate(t *testing.T) {
	const rate = 100 // lines in the second before
	l := newByLook(t)
	l.add(rate)
	l.look()
	g := &l.s.files[0].growth
	g.before = growthPoint{at: g.looked.Add(-time.Second), total: g.total - int64(rate*len(kernLine(l.n)))}
	l.add(1)
	l.copyTruncate(".1")
	for _, at := range []*time.Time{&g.looked, &g.grew, &g.from.at, &g.before.at} {
		wall := (*uint64)(unsafe.Pointer(at)) // in a time with a monotonic reading: a bit, 33 bits of seconds, 30 of nanoseconds
		*wall -= 3600 << 30
	}
	l.setTime(".1", time.Now().Add(-time.Hour+100*time.Millisecond))
	l.add(1)
	for range 5 {
		l.look()
	}
	if l.told != 1 || l.lost > 60*rate {
		t.Errorf("told %d times, %d lines counted as lost within a moment: %s", l.told, l.lost, l.lostText)
	}
}
