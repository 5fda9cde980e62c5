package watcher

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// peersFailures are where other followers of files lose records or count them twice. Each writes and reads, and leaves
// the reader at the end.
var peersFailures = map[string]func(l *numbered){
	// node-problem-detector lost 50 of 50 lines written over a restart, or with a look-back counted 100 twice.
	"a restart loses what came meanwhile, or counts it again": func(l *numbered) {
		l.add(50)
		l.start()
		l.untilCaughtUp()
		l.stop()
		l.add(50)
		l.start()
		l.untilCaughtUp()
	},
	// Several followers take what stands before the border of a page for a line.
	"a line is cut at the border of a page": func(l *numbered) {
		l.write("")
		l.start()
		l.until("the beginning", func() bool { return l.caughtUp })
		text := l.text(200)
		for at := 0; at < len(text); at += 4096 {
			page := text[at:min(at+4096, len(text))]
			l.write(page)
			whole := strings.Count(text[:at+len(page)], "\n")
			l.until("the whole lines", func() bool { return len(l.got) == whole })
		}
	},
	// Vector leaves its cursor far behind where few records match.
	"a rare match leaves the position behind": func(l *numbered) {
		l.add(1)
		l.start()
		l.untilLine(1)
		size := int64(len(kernLine(1)))
		for range 20 {
			other := strings.Repeat("2026-03-01T00:00:00Z h1 cron[1]: nothing of ours\n", 1000)
			l.write(other)
			size += int64(len(other))
		}
		l.until("the position at the end", func() bool {
			var pos syslogPosition
			return json.Unmarshal(l.last, &pos) == nil && pos.Offset >= size-64
		})
		l.add(1)
		l.untilLine(2)
	},
	// Vector moves its checkpoint on though the receiver has failed.
	"the position moves on without its records": func(l *numbered) {
		l.add(5000)
		l.start()
		l.until("a part", func() bool { return len(l.got) > 0 })
		for range 5 {
			l.stop() // with records read and not taken
			l.start()
		}
		l.untilCaughtUp()
	},
	// node-problem-detector and others stop for good at a file that is not there for a while.
	"a file that goes away ends the reader": func(l *numbered) {
		l.add(10)
		l.start()
		l.untilCaughtUp()
		l.rename(".gone")
		l.until("that it is gone", func() bool { return l.state != nil && l.state.Absent })
		l.add(10)
		l.untilLine(l.n)
	},
}

// TestPromisePeers has the failures of other tools, each as a case of its own. Rotations that they lose lines in are in
// TestPromiseRotator and TestPromiseLogrotate, files that begin alike in TestPromiseStopped.
func TestPromisePeers(t *testing.T) {
	lines, missing, twice := 0, 0, 0
	for name, do := range peersFailures {
		t.Run(name, func(t *testing.T) {
			l := newNumbered(t)
			do(l)
			l.stop()
			l.wantAll()
			lines, missing, twice = lines+l.n, missing+l.missing(), twice+l.twice()
		})
	}
	testhost.Held(t, "1.5 where other followers fail", "lost %d, twice %d of %d lines in %d cases", missing, twice, lines, len(peersFailures))
}
