package watcher

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// busyFor is how long a file is taken to be written to after it was last seen to grow.
	busyFor = 2 * time.Second
	// fileTick is how far the time of a change may be behind the clock: kernels count the times of files in ticks, of at
	// most this.
	fileTick = 10 * time.Millisecond
)

// growth is what was seen of how a file is written to. The zero value has seen nothing.
type growth struct {
	looked time.Time // the last look that found what was read in place
	size   int64     // the file's size then; 0 once it was truncated
	grew   time.Time // the last look that found more than the one before
	total  int64     // bytes that came since the first look
	// from is where the present span of looking began, of busyFor; before is the same of the span before that.
	from, before growthPoint
}

// growthPoint is how many bytes had come at a time.
type growthPoint struct {
	at    time.Time
	total int64
}

// lineLength is how long lines are on average, by what was read at the live end.
type lineLength struct{ lines, bytes int64 }

// took notes lines that were read.
func (l *lineLength) took(lines []byte) {
	l.lines += int64(bytes.Count(lines, []byte{'\n'}))
	l.bytes += int64(len(lines))
}

// look notes a look at a file that has all that was read of it, and is of this size.
func (g *growth) look(now time.Time, size int64) {
	if more := size - g.size; more > 0 && !g.looked.IsZero() {
		g.total += more
		g.grew = now
	}
	g.looked, g.size = now, size
	if now.Sub(g.from.at) >= busyFor {
		g.before, g.from = g.from, growthPoint{now, g.total}
	}
}

// rest notes that nothing came since the last look until now, where that is long ago: the rate of what comes next is of
// the time that it comes in.
func (g *growth) rest(now time.Time) {
	if now.Sub(g.looked) >= busyFor {
		g.before, g.from = growthPoint{now.Add(-busyFor), g.total}, growthPoint{now, g.total}
	}
}

// busy tells whether the file was being written to when it was last looked at.
func (g *growth) busy() bool { return !g.grew.IsZero() && g.looked.Sub(g.grew) <= busyFor }

// unseen is how many lines come in a while at the rate seen until the last look, rounded up; 0: there is none.
func (g *growth) unseen(while time.Duration, length lineLength) int64 {
	since := g.before
	if since.at.IsZero() {
		since = g.from
	}
	span, came := g.looked.Sub(since.at), g.total-since.total
	if span <= 0 || came <= 0 || length.lines == 0 {
		return 0
	}
	lines := float64(came) * float64(length.lines) / float64(length.bytes)
	return int64(math.Ceil(lines * while.Seconds() / span.Seconds()))
}

// truncated tells what is lost with the truncation of f: unread bytes that were seen, or else, where f was being written
// to, what came since it was last looked at and behind the end of its copies, as copiesIn tells them. How much that is,
// and whether it is anything, cannot be seen any more. A file that was quiet is not said to have lost a line.
func (s *Syslog) truncated(f *logFile, copies []*logFile, unread int64) {
	switch {
	case unread > 0:
		s.send.lost(1, fmt.Sprintf("%s was truncated with %d bytes unread", s.cfg.Path, unread))
	case f.growth.busy() || slices.ContainsFunc(copies, f.grewInto):
		lines := f.growth.unseen(f.uncopied(copies, time.Now()), s.length)
		s.send.lost(0, truncatedText(s.cfg.Path, len(copies), lines))
	}
	f.growth.size = 0
}

// copiesIn are those of list that were copied from f since it was last looked at: that go on where f was read to, or were
// changed after that look. An old file that somebody unpacks or puts back beside f has the time that it had; one that was
// there before f, and is where it is by a rotation, is older than f.
func (f *logFile) copiesIn(list []*logFile) []*logFile {
	return slices.DeleteFunc(slices.Clone(list), func(r *logFile) bool {
		return r.off == 0 && (!changedSince(r.touched, f.growth.looked) || r.bornBefore(f))
	})
}

// bornBefore tells whether a file is known to have been made before another one.
func (r *logFile) bornBefore(f *logFile) bool {
	own, others := r.born(), f.born()
	return !own.IsZero() && !others.IsZero() && own.Before(others)
}

// born is when a file was made; zero where the file system or the kernel (before Linux 4.11) does not tell.
func (r *logFile) born() time.Time {
	var st unix.Statx_t
	err := unix.Statx(int(r.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &st)
	if err != nil || st.Mask&unix.STATX_BTIME == 0 {
		return time.Time{}
	}
	return time.Unix(st.Btime.Sec, int64(st.Btime.Nsec))
}

// changedSince tells whether a file whose last change has the time changed may have been changed after t. Some file
// systems count in whole seconds.
func changedSince(changed, t time.Time) bool {
	if changed.Nanosecond() == 0 {
		changed = changed.Add(time.Second)
	}
	return changed.Add(fileTick).After(t)
}

// uncopied is for how long lines may have come to f that are in none of its copies: since the first copy was written, or
// since f was last looked at where that is later, or where the time of a copy says nothing: a packer may have set it, or
// it is yet to come.
func (f *logFile) uncopied(copies []*logFile, now time.Time) time.Duration {
	var first time.Time
	for i, r := range copies {
		if r.packed || r.touched.After(now) {
			return now.Sub(f.growth.looked)
		}
		if i == 0 || r.touched.Before(first) {
			first = r.touched
		}
	}
	if first.Before(f.growth.looked) {
		first = f.growth.looked
	}
	return now.Sub(first)
}

// grewInto tells whether a copy of f has something that was not in f when that was last looked at.
func (f *logFile) grewInto(copied *logFile) bool {
	if copied.off == 0 {
		return len(copied.start()) > 0
	}
	return !copied.packed && copied.end > f.end
}

// truncatedText says what nobody can count; lines is an estimate, or 0.
func truncatedText(path string, copies int, lines int64) string {
	what, destroyed, about := "truncated while it was written to", "since it was last looked at", ""
	if copies > 0 {
		what, destroyed = "copied and truncated while it was written to (copytruncate)", "between the two"
	}
	if copies > 1 {
		what = fmt.Sprintf("copied and truncated %d times while it was written to (copytruncate)", copies)
	}
	if lines > 0 {
		about = fmt.Sprintf(" (at the rate seen at most about %d)", lines)
	}
	return fmt.Sprintf("%s was %s: lines written %s are destroyed, and nobody can count them%s; "+
		"to lose none use create in logrotate's configuration, and have the writer open the log again in postrotate",
		path, what, destroyed, about)
}
