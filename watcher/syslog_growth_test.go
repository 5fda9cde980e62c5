package watcher

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

// TestSyslogTruncatedQuiet truncates files that nothing was written to for a while, in every manner: nobody is accused
// of having lost a line.
func TestSyslogTruncatedQuiet(t *testing.T) {
	for name, truncate := range map[string]func(l *numbered) error{
		"truncated":                 func(l *numbered) error { return os.Truncate(l.path, 0) },
		"copied and truncated":      func(l *numbered) error { l.copyTruncate(".1"); return nil },
		"copied, truncated, packed": func(l *numbered) error { l.copyTruncate(".1"); return packFile(l.path+".1", ".gz") },
		"copied and truncated, and then written to": func(l *numbered) error {
			l.copyTruncate(".1")
			l.add(20)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			needPacker(t, ".gz")
			l := newNumbered(t)
			l.add(5)
			l.start()
			l.untilCaughtUp()
			l.add(5)
			l.untilLine(l.n)
			quiet := time.Now()
			l.until("the file is quiet", func() bool { return time.Since(quiet) > 2*busyFor })
			if err := truncate(l); err != nil {
				t.Fatal(err)
			}
			l.untilTruncated(10)
			l.add(1)
			l.untilLine(l.n)
			l.wantAll()
			l.wantNothingTold()
		})
	}
}

// untilTruncated reads on until the position says that the file was truncated behind so many lines, or another was read.
func (l *numbered) untilTruncated(lines int) {
	l.t.Helper()
	l.until("the truncation is seen", func() bool {
		var pos syslogPosition
		return len(l.got) > lines || json.Unmarshal(l.last, &pos) == nil && (pos.Offset == 0 || pos.Next != fileID{})
	})
}

// TestSyslogTruncatedBusy copies and truncates a file that 100 lines a second came to, with all times set: how many are
// counted as lost is by what came between the copy and the last write, less what is in another copy or in the file again.
func TestSyslogTruncatedBusy(t *testing.T) {
	const copied = "was copied and truncated while it was written to (copytruncate)"
	const ms = time.Millisecond
	tests := []struct {
		name     string
		truncate func(l *busyFile)
		lost     int
		text     string // what is told
	}{
		{"copied", func(l *busyFile) {
			l.copyAt(100*ms, 10, ".1")
			l.writeAt(300*ms, 5)
		}, 15, copied},
		{"copied, and empty when it is seen", func(l *busyFile) {
			l.copyAt(100*ms, 10, ".1")
			l.writeAt(200*ms, 0)
		}, 10, copied},
		{"copied twice", func(l *busyFile) {
			l.copyAt(100*ms, 10, ".2")
			l.copyAt(250*ms, 5, ".1")
			l.writeAt(350*ms, 5)
		}, 13, "was copied and truncated 2 times while it was written to"},
		{"copied twice, and nothing seen of the rate before", func(l *busyFile) {
			g := &l.s.files[0].growth
			g.before, g.from = growthPoint{}, growthPoint{g.looked, g.total}
			l.copyAt(100*ms, 10, ".2")
			l.copyAt(300*ms, 10, ".1")
			l.writeAt(400*ms, 0)
		}, 10, "was copied and truncated 2 times while it was written to"},
		{"copied and packed", func(l *busyFile) {
			l.copyAt(100*ms, 10, ".1")
			pack(l.t, l.path+".1", ".gz")
			l.writeAt(300*ms, 5)
		}, 15, copied},
		{"not copied", func(l *busyFile) {
			l.truncate()
			l.writeAt(300*ms, 5)
		}, 25, "was truncated while it was written to"},
		{"copied and truncated at once", func(l *busyFile) {
			l.copyAt(100*ms, 10, ".1")
			l.writeAt(110*ms, 1)
		}, 1, copied}, // one comes in a tick of the kernel's clock
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			needPacker(t, ".gz")
			l := newBusyFile(t)
			tt.truncate(l)
			for range 5 {
				l.look()
			}
			l.wantAll()
			if off := int(l.lost) - tt.lost; l.told != 1 || off < -1 || off > 1 || !strings.Contains(l.lostText, tt.text) {
				t.Errorf("told %d times, lost %d %q; want once, %d, %q", l.told, l.lost, l.lostText, tt.lost, tt.text)
			}
			for _, want := range []string{fmt.Sprintf("about %d at the rate seen", l.lost), "postrotate"} {
				if !strings.Contains(l.lostText, want) {
					t.Errorf("told %q, want in it %q", l.lostText, want)
				}
			}
		})
	}
}

// TestSyslogTruncatedRarely copies and truncates a file that a line came to just before, night after night: nobody is called
// every time, but what may be lost adds up to a line at last.
func TestSyslogTruncatedRarely(t *testing.T) {
	l := newByLook(t)
	l.s.owed = 0
	nights := 0
	for ; l.told == 0 && nights < 200; nights++ {
		l.age(time.Minute)
		l.look()
		l.add(1)
		l.look()
		l.copyTruncate(fmt.Sprintf(".%d", 200-nights))
		l.look()
		l.look()
	}
	l.wantAll()
	if nights < 30 || l.told != 1 || l.lost != 1 {
		t.Errorf("told %d times, lost %d after %d nights: %s", l.told, l.lost, nights, l.lostText)
	}
}

// busyFile is a file that 100 lines came to in the second before it was last looked at, half a second ago.
type busyFile struct {
	*byLook
	looked time.Time
}

func newBusyFile(t *testing.T) *busyFile {
	const rate = 100
	l := newByLook(t)
	l.s.owed = 0.1
	l.add(rate)
	l.look()
	g := &l.s.files[0].growth
	g.before = growthPoint{at: g.looked.Add(-time.Second), total: g.total - int64(rate*len(kernLine(l.n)))}
	g.from = growthPoint{g.looked, g.total}
	l.age(500 * time.Millisecond)
	return &busyFile{l, g.looked}
}

// copyAt writes so many lines, and copies and truncates the file, as though it had been copied so long after the look.
func (l *busyFile) copyAt(after time.Duration, lines int, suffix string) {
	l.t.Helper()
	l.add(lines)
	l.copyTruncate(suffix)
	l.setTime(suffix, l.looked.Add(after))
}

// writeAt writes so many lines, as though they had been the last so long after the look.
func (l *busyFile) writeAt(after time.Duration, lines int) {
	l.t.Helper()
	l.add(lines)
	l.setTime("", l.looked.Add(after))
}

func (l *busyFile) truncate() {
	l.t.Helper()
	if err := os.Truncate(l.path, 0); err != nil {
		l.t.Fatal(err)
	}
}

func TestGrowth(t *testing.T) {
	type look struct {
		at   time.Duration
		more int64
	}
	steady := func(each int64) (list []look) {
		for at := time.Duration(0); at <= 5*time.Second; at += pollEvery {
			list = append(list, look{at, each})
		}
		return list
	}
	tests := []struct {
		name  string
		looks []look
		gap   time.Duration // until the truncation is noticed
		busy  bool
		lines uint64 // of 10 bytes each
	}{
		{"never looked at", nil, pollEvery, false, 0},
		{"as it was at the first look", []look{{0, 0}}, pollEvery, false, 0},
		{"never grown", steady(0), pollEvery, false, 0},
		{"not empty at the first look", []look{{0, 50}}, pollEvery, false, 0},
		{"one line a second ago", []look{{0, 0}, {time.Second, 10}, {2 * time.Second, 0}}, pollEvery, true, 1},
		{"one line long ago", []look{{0, 0}, {time.Second, 10}, {4 * time.Second, 0}}, pollEvery, false, 1},
		{"a line at each look", steady(10), pollEvery, true, 1},
		{"1000 lines at each look", steady(10000), pollEvery, true, 1000},
		{"1000 lines at each look, noticed late", steady(10000), time.Second, true, 10000},
		{"1000 lines at each look, noticed at once", steady(10000), 0, true, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var g growth
			var length lineLength
			length.took([]byte("123456789\n123456789\n"))
			start, size := time.Now(), int64(0)
			for _, l := range tt.looks {
				size += l.more
				g.look(start.Add(l.at), size)
			}
			if got := g.busy(); got != tt.busy {
				t.Errorf("busy %v, want %v", got, tt.busy)
			}
			if got := uint64(math.Ceil(length.of(g.bytesIn(tt.gap)))); got != tt.lines {
				t.Errorf("%d lines unseen, want %d", got, tt.lines)
			}
		})
	}
}

func TestTruncatedText(t *testing.T) {
	for _, tt := range []struct {
		copies int
		unread int64
		lines  uint64
		want   string
	}{
		{0, 0, 1, "/x was truncated while it was written to: lines written since it was last looked at may be destroyed, " +
			"about 1 at the rate seen, which is counted as lost; "},
		{1, 0, 2, "/x was copied and truncated while it was written to (copytruncate): lines written between the two may be destroyed, " +
			"about 2 at the rate seen, which is counted as lost; "},
		{3, 0, 7, "/x was copied and truncated 3 times while it was written to (copytruncate): lines written between the two may be destroyed, " +
			"about 7 at the rate seen, which is counted as lost; "},
		{1, 512, 6, "/x was truncated with 512 bytes unread: about 6 lines are lost"},
	} {
		if text := truncatedText("/x", tt.copies, tt.unread, tt.lines); !strings.HasPrefix(text, tt.want) {
			t.Errorf("%d copies, %d unread, %d lines: %q, want %q", tt.copies, tt.unread, tt.lines, text, tt.want)
		}
	}
}
