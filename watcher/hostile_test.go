package watcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

const (
	// hostileHeap is by how much the heap may grow at most: the whole agent is to stay under 64 MiB.
	hostileHeap = 32 << 20
	// hostileLate is how late a real line may come. A second is promised; machines that run tests are slow at times.
	hostileLate = 10 * time.Second
)

// hostileTexts are what somebody may write into a log file, each before a real line.
var hostileTexts = map[string]func(w io.Writer) error{
	"a line of 64 MiB":             func(w io.Writer) error { return fill(w, strings.Repeat("x", 1<<20), 64, "\n") },
	"a line of 64 MiB that quotes": func(w io.Writer) error { return fill(w, strings.Repeat(tableFull+" ", 16<<10), 64, "\n") },
	"NUL bytes":                    func(w io.Writer) error { return fill(w, strings.Repeat("\x00", 1<<20), 8, "") },
	"NUL bytes in lines":           func(w io.Writer) error { return fill(w, strings.Repeat("a\x00b\n\x00\n", 10000), 10, "") },
	"invalid UTF-8": func(w io.Writer) error {
		return fill(w, "\xff\xfe\xc3\x28\xe2\x82 kernel: "+tableFull+"\xf0\n", 10000, "")
	},
	"empty lines":      func(w io.Writer) error { return fill(w, strings.Repeat("\n", 1<<20), 4, "") },
	"carriage returns": func(w io.Writer) error { return fill(w, strings.Repeat("\r", 1<<20), 4, "\n") },
	"lines as long as is looked at": func(w io.Writer) error {
		return fill(w, strings.Repeat("y", maxLine-1)+"\n"+strings.Repeat("z", maxLine)+"\n", 50, "")
	},
	"forged lines": func(w io.Writer) error {
		return fill(w, "2026-03-01T00:00:00Z "+testHost+" sshd[1]: kernel: "+tableFull+"\n", 100000, "")
	},
}

// fill writes text so many times, and end.
func fill(w io.Writer, text string, times int, end string) error {
	for range times {
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, end)
	return err
}

// TestPromiseHostileText writes what no log should hold before real lines, which must come through at once in bounded
// memory.
func TestPromiseHostileText(t *testing.T) {
	slowest, peak := time.Duration(0), uint64(0)
	for name, text := range hostileTexts {
		t.Run(name, func(t *testing.T) {
			l := newNumbered(t)
			l.add(1)
			l.start()
			l.untilCaughtUp()
			peak = max(peak, heapPeak(t, func() {
				f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0)
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(text(f), f.Close()); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				l.add(1)
				l.untilLine(l.n)
				slowest = max(slowest, time.Since(start))
			}))
			l.stop()
			l.wantAll()
		})
	}
	wantModest(t, slowest, peak)
	testhost.Held(t, "6.3 hostile text in a file", "real lines behind %d kinds came in at most %v, the heap grew by at most %d KiB",
		len(hostileTexts), slowest.Round(time.Millisecond), peak>>10)
}

func wantModest(t *testing.T, slowest time.Duration, peak uint64) {
	t.Helper()
	if slowest > hostileLate {
		t.Errorf("a real line took %v", slowest)
	}
	if peak > hostileHeap {
		t.Errorf("the heap grew by %d MiB", peak>>20)
	}
}

// TestPromiseHostileEndless never ends a line, while the reader is stopped and started and the file rotated at last.
func TestPromiseHostileEndless(t *testing.T) {
	l := newNumbered(t)
	l.add(1)
	l.start()
	l.untilCaughtUp()
	slowest := time.Duration(0)
	peak := heapPeak(t, func() {
		for range 4 {
			for range 16 {
				l.write(strings.Repeat("x", 1<<20))
			}
			l.until("the line is passed over", func() bool {
				var pos syslogPosition
				info, err := os.Stat(l.path)
				return errors.Join(err, json.Unmarshal(l.last, &pos)) == nil && pos.Skip && pos.Offset == info.Size()
			})
			l.stop()
			l.start()
		}
		l.rename(".1")
		start := time.Now()
		l.add(1)
		l.untilLine(l.n)
		slowest = time.Since(start)
	})
	l.stop()
	l.wantAll()
	wantModest(t, slowest, peak)
	testhost.Held(t, "6.2 a line without end", "the real line in the next file came in %v, the heap grew by at most %d KiB",
		slowest.Round(time.Millisecond), peak>>10)
}

// TestPromiseHostileTimes delivers lines of every year as what they say, with times that can be stored.
func TestPromiseHostileTimes(t *testing.T) {
	stamps := []string{
		"1970-01-01T00:00:00Z", "1969-12-31T23:59:59-12:00", "2038-01-19T03:14:08Z", "9999-12-31T23:59:59Z",
		"9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "4102444800.000001",
		"Feb 29 23:59:60", "Jan  1 00:00:00",
	}
	l := newNumbered(t)
	l.write("")
	l.start()
	l.until("the beginning", func() bool { return l.caughtUp })
	last := time.Time{}
	for _, stamp := range stamps {
		l.n++
		l.write(fmt.Sprintf("%s %s kernel: [0.%06d] %s\n", stamp, testHost, l.n, tableFull))
		l.add(1)
	}
	l.until("all lines", func() bool {
		select {
		case b := <-l.reader.out:
			l.book(b)
			for _, m := range b.Matches {
				if _, err := json.Marshal(m); err != nil {
					t.Errorf("a match that cannot be stored: %v", err)
				}
			}
			last = b.Last
		case <-time.After(pollEvery):
		}
		return len(l.got) == l.n
	})
	l.stop()
	l.wantAll()
	if last.After(time.Now()) {
		t.Errorf("the last record is said to be of %v", last)
	}
	testhost.Held(t, "6.6 times from 1970 to 9999", "lost %d, twice %d of %d lines, none dated later than now", l.missing(), l.twice(), l.n)
}

// notFiles make something at a path that is no log file.
var notFiles = map[string]func(path string) error{
	"fifo":              func(path string) error { return unix.Mkfifo(path, 0o600) },
	"directory":         func(path string) error { return os.Mkdir(path, 0o700) },
	"link to /dev/zero": func(path string) error { return os.Symlink("/dev/zero", path) },
	"link to itself":    func(path string) error { return os.Symlink(path, path) },
	"link into /proc":   func(path string) error { return os.Symlink("/proc/version", path) },
	"socket": func(path string) error {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return err
		}
		l.SetUnlinkOnClose(false)
		return l.Close()
	},
}

// TestPromiseHostileFile puts something else where the file and its rotated ones should be, at the start and under the
// reader's hands. It is said, and what is a file is read.
func TestPromiseHostileFile(t *testing.T) {
	for name, mk := range notFiles {
		t.Run(name, func(t *testing.T) {
			l := newNumbered(t)
			l.path = filepath.Join(testhost.PublicDir(t), "log") // short enough for a socket
			l.cfg.Path = l.path
			if err := errors.Join(mk(l.path), mk(l.path+".1"), mk(l.path+".2.gz")); err != nil {
				t.Fatal(err)
			}
			l.start()
			l.untilState(false)
			if err := os.Remove(l.path); err != nil {
				t.Fatal(err)
			}
			l.add(1)
			l.untilState(true)
			l.untilLine(l.n)
			mustRename(t, l.path, l.path+".3")
			if err := mk(l.path); err != nil {
				t.Fatal(err)
			}
			l.untilState(false)
			if err := os.Remove(l.path); err != nil {
				t.Fatal(err)
			}
			l.add(1)
			l.untilState(true)
			l.untilLine(l.n)
			l.stop()
			l.add(1)
			l.start()
			l.untilLine(l.n)
			l.stop()
			l.wantAll()
		})
	}
	testhost.Held(t, "6.4 what is no file", "%d kinds said at the start and while following, and recovered from", len(notFiles))
}

// untilState reads on until the file is said to be readable, or not to be.
func (l *numbered) untilState(up bool) {
	l.t.Helper()
	l.until(fmt.Sprintf("up is %v", up), func() bool { return l.state != nil && l.state.Up == up })
}

// TestPromiseHostilePacked goes on through packed files that unpack to a great deal, or want much memory to do so.
func TestPromiseHostilePacked(t *testing.T) {
	l := newNumbered(t)
	l.add(1)
	l.start()
	l.untilCaughtUp()
	l.stop()
	l.rename(".4")
	bomb := []byte(strings.Repeat("x", 64<<20))
	l.put(".3.gz", string(packers["gz"](t, bomb)))
	clear(bomb)
	l.put(".2.zst", string(packers["zst"](t, bomb)))
	bomb = nil
	l.put(".1.xz", string(hugeXZ()))
	l.add(1)
	start := time.Now()
	peak := heapPeak(t, func() {
		l.start()
		l.untilLine(l.n)
	})
	took := time.Since(start)
	l.stop()
	l.wantAll()
	if peak > hostileHeap {
		t.Errorf("the heap grew by %d MiB", peak>>20)
	}
	if l.lost == 0 || !strings.Contains(l.lostText, "window") {
		t.Errorf("of the file that wants a window of 1.5 GiB this was said: %d %q", l.lost, l.lostText)
	}
	testhost.Held(t, "6.5 packed files that unpack to much", "the real line behind them came in %v, the heap grew by at most %d KiB",
		took.Round(time.Millisecond), peak>>10)
}
