package watcher

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestSyslogRotatedAndStillWrittenTo has a writer that never opens the log again: the new file is read all the same.
func TestSyslogRotatedAndStillWrittenTo(t *testing.T) {
	l := newNumbered(t)
	l.add(5)
	l.start()
	l.untilCaughtUp()
	old, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	l.rename(".1")
	l.add(5)
	written := time.Now()
	l.until("the new file's lines", func() bool {
		if time.Since(written) > 40*time.Millisecond { // and never quiet for as long as a file is left
			written = time.Now()
			if _, err := old.WriteString("2026-03-01T00:00:00Z h1 cron[1]: of a writer that did not open it again\n"); err != nil {
				t.Fatal(err)
			}
		}
		return len(l.got) == l.n
	})
	l.wantAll()
	l.until("it is told", func() bool { return strings.Contains(l.lostText, "still written to") })
}

// TestSyslogRotationTakenBack renames the file away and back.
func TestSyslogRotationTakenBack(t *testing.T) {
	l := newNumbered(t)
	l.add(5)
	l.start()
	l.untilCaughtUp()
	l.rename(".1")
	l.write("")
	held := time.Now()
	l.until("the new file is seen", func() bool { return time.Since(held) > 5*pollEvery })
	if err := os.Rename(l.path+".1", l.path); err != nil {
		t.Fatal(err)
	}
	l.add(3)
	l.untilLine(l.n)
	held = time.Now()
	l.until("more comes", func() bool { return time.Since(held) > 5*pollEvery })
	l.wantAll()
}

// TestSyslogHoles has a writer that goes on at its own offset in a file that was copied and truncated, again and again:
// every copy but the first begins with NUL.
func TestSyslogHoles(t *testing.T) {
	l := newNumbered(t)
	f, err := os.Create(l.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	add := func(n int) {
		if _, err := f.WriteString(l.text(n)); err != nil {
			t.Fatal(err)
		}
	}
	add(20)
	l.start()
	l.untilCaughtUp()
	for i := 5; i > 1; i-- {
		add(5)
		l.copyTruncate(fmt.Sprintf(".%d", i))
		add(5)
		l.untilLine(l.n)
	}
	l.wantAll()
}

// TestSyslogShortDates goes on over rotations whose dates look like numbers.
func TestSyslogShortDates(t *testing.T) {
	l := newNumbered(t)
	l.add(5)
	l.start()
	l.untilCaughtUp()
	l.stop()
	l.add(5)
	l.rename(".261127")
	l.add(5)
	l.rename(".261128")
	l.add(5)
	l.start()
	l.untilLine(l.n)
	l.wantAll()
}
