package watcher

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"time"
)

// busyFor is how long a file is taken to be written to after it was last seen to grow.
const busyFor = 2 * time.Second

// growth is what was seen of how a file is written to. The zero value has seen nothing.
type growth struct {
	looked time.Time // the last look that found what was read in place
	grew   time.Time // the last look that found more than the one before
	total  int64     // bytes that came since the file was opened
	// from is where the present span of looking began, of busyFor; before is the same of the span before that.
	from, before growthPoint
	// lines and bytes are what was read at the live end, to know how long a line is.
	lines, bytes int64
}

// growthPoint is how many bytes had come at a time.
type growthPoint struct {
	at    time.Time
	total int64
}

// look notes a look at a file that has all that was read of it, and more bytes than at the look before.
func (g *growth) look(now time.Time, more int64) {
	g.looked = now
	if more > 0 {
		g.total += more
		g.grew = now
	}
	if now.Sub(g.from.at) >= busyFor {
		g.before, g.from = g.from, growthPoint{now, g.total}
	}
}

// took notes lines that were read at the live end.
func (g *growth) took(lines []byte) {
	g.lines += int64(bytes.Count(lines, []byte{'\n'}))
	g.bytes += int64(len(lines))
}

// busy tells whether the file was being written to when it was last looked at.
func (g *growth) busy() bool { return !g.grew.IsZero() && g.looked.Sub(g.grew) <= busyFor }

// unseen is how many lines came from the last look until now at the rate seen until then, rounded up; 0: there is none.
func (g *growth) unseen(now time.Time) int64 {
	since := g.before
	if since.at.IsZero() {
		since = g.from
	}
	span, came := g.looked.Sub(since.at), g.total-since.total
	if span <= 0 || came <= 0 || g.lines == 0 {
		return 0
	}
	line := float64(g.bytes) / float64(g.lines)
	return int64(math.Ceil(float64(came) / line * now.Sub(g.looked).Seconds() / span.Seconds()))
}

// truncated tells what is lost with the truncation of f: unread bytes that were seen, or else, where f was being written
// to, what came since it was last looked at and behind the end of its copies. How much that is, and whether it is
// anything, cannot be seen any more. A file that was quiet is not said to have lost a line.
func (s *Syslog) truncated(f *logFile, copies []*logFile, unread int64) {
	switch {
	case unread > 0:
		s.send.lost(1, fmt.Sprintf("%s was truncated with %d bytes unread", s.cfg.Path, unread))
	case f.growth.busy() || slices.ContainsFunc(copies, f.grewInto):
		s.send.lost(0, truncatedText(s.cfg.Path, len(copies) > 0, f.growth.unseen(time.Now())))
	}
}

// grewInto tells whether a copy of f has something that was not in f when that was last looked at.
func (f *logFile) grewInto(copied *logFile) bool {
	if copied.off == 0 {
		return len(copied.start()) > 0
	}
	return !copied.packed && copied.end > f.end
}

// truncatedText says what nobody can count; lines is an estimate, or 0.
func truncatedText(path string, copied bool, lines int64) string {
	what, destroyed := "truncated while it was written to", "since it was last looked at"
	if copied {
		what, destroyed = "copied and truncated while it was written to (copytruncate)", "between the two"
	}
	about := ""
	if lines > 0 {
		about = fmt.Sprintf(" (at the rate seen at most about %d)", lines)
	}
	return fmt.Sprintf("%s was %s: lines written %s are destroyed, and nobody can count them%s; "+
		"to lose none use create in logrotate's configuration, and have the writer open the log again in postrotate",
		path, what, destroyed, about)
}
