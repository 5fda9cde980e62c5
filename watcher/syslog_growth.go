package watcher

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

const (
	// busyFor is how long a file is taken to be written to after it was last seen to grow.
	busyFor = 2 * time.Second
	// fileTick is how far the time of a change may be behind the clock: kernels count the times of files in ticks, of at
	// most this.
	fileTick = 10 * time.Millisecond
	// leastUnseen is how many lines a truncation is taken to destroy at least in a file that is written to.
	leastUnseen = 0.01
)

// growth is what was seen of how a file is written to. The zero value has seen nothing.
type growth struct {
	looked time.Time // the last look that found what was read in place
	size   int64     // the file's size then; 0 once it was truncated
	grew   time.Time // the last look that found more than the one before
	total  int64     // bytes that came since the first look
	cut    time.Time // when it was seen last that it had been truncated
	// from is where the present span of looking began, of busyFor; before is the same of the span before that.
	from, before growthPoint
}

// growthPoint is how many bytes had come at a time.
type growthPoint struct {
	at    time.Time
	total int64
}

// lineLength is how long lines are on average, by what was read at the live end, and before that by some of the backlog.
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

// bytesIn is how many bytes come in a while at the rate seen until the last look. What came in less time than is between
// two looks is no rate yet.
func (g *growth) bytesIn(while time.Duration) float64 {
	since := g.before
	if since.at.IsZero() {
		since = g.from
	}
	span, came := g.looked.Sub(since.at), g.total-since.total
	return float64(came) * while.Seconds() / max(span, pollEvery).Seconds()
}

// of is how many lines so many bytes are.
func (l lineLength) of(bytes float64) float64 {
	if bytes <= 0 || l.lines == 0 {
		return 0
	}
	return bytes * float64(l.lines) / float64(l.bytes)
}

// truncated tells what is lost with the truncation of f: unread bytes that were seen, and, where f was being written to,
// about how many lines came that nobody can read any more, by the rate at which they came before. Whether there was any
// cannot be seen: of a file that is written to now and then it is a small part of one line each time, and such parts are
// told when they make a line. A file that was quiet is not said to have lost anything. Copies are as copiesIn tells them.
func (s *Syslog) truncated(f *logFile, copies []*logFile, unread int64) {
	busy := f.growth.busy() || slices.ContainsFunc(copies, f.grewInto)
	var seen, unseen float64 // lines
	if unread > 0 {
		seen = max(1, math.Ceil(s.length.of(float64(unread))))
	}
	if busy {
		least := min(1, s.length.of(f.growth.bytesIn(min(fileTick, time.Since(f.growth.looked)))))
		unseen = max(leastUnseen, s.length.of(f.destroyed(copies)), least)
		s.owed += unseen
	}
	whole := math.Floor(s.owed)
	s.owed -= whole
	if lines := uint64(seen + whole); lines > 0 {
		s.send.lost(lines, truncatedText(s.cfg.Path, len(copies), unread, lines))
	} else if busy {
		s.cfg.Log.Info("a log file was truncated while it was written to: a line may be lost",
			zap.Float64("lines_at_rate_seen", unseen))
	}
	f.growth.size, f.growth.cut = 0, time.Now()
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

// destroyed is about how many bytes came to f that nobody can read any more: what comes, at the rate seen, from the
// moment when the first of its copies was made until f was last changed, less what of that is in the other copies or in f
// again.
func (f *logFile) destroyed(copies []*logFile) float64 {
	from, until, kept := f.growth.looked, time.Now(), f.keptIn(copies)
	if at := f.copiedAt(copies, until); at.After(from) {
		from, kept = at, kept-f.keptIn(copies[:1])
		f.lookAt(copies, until)
	}
	if info, err := f.Stat(); err == nil {
		kept += info.Size()
		exact := until.Sub(from) > fileTick // or the times of files are too coarse for it
		if at := f.at(info.ModTime(), until); exact && at.Add(fileTick).After(from) && info.ModTime().Nanosecond() > 0 {
			until = at
		}
	}
	gone := max(0, f.growth.bytesIn(until.Sub(from))-float64(kept))
	f.growth.total += int64(gone)
	return gone
}

// lookAt takes plain copies for looks at f at the times when they were made.
func (f *logFile) lookAt(copies []*logFile, now time.Time) {
	g := &f.growth
	for _, r := range copies {
		if at := f.at(r.touched, now); !r.packed {
			g.look(at, max(g.size, r.end))
			g.size = 0
		}
	}
}

// at is when a time of a file's was, which is the wall clock's: that may have been set since f was last looked at.
func (f *logFile) at(touched, now time.Time) time.Time {
	return now.Add(-max(0, min(now.Sub(touched), now.Sub(f.growth.looked))))
}

// keptIn is how many bytes of those that came to f since it was last looked at are in plain copies.
func (f *logFile) keptIn(copies []*logFile) (came int64) {
	for _, r := range copies {
		switch {
		case r.packed:
		case r.off > 0: // what was in f when it was looked at begins it
			came += max(0, r.end-f.growth.size)
		default:
			came += r.end
		}
	}
	return came
}

// copiedAt is when the first of the copies was made: when it was last written to, or, where a packer has given it the time
// of what it packed, when that was. It is zero where its time says nothing: it is yet to come, or that of the packing, or
// another copy was made and read before.
func (f *logFile) copiedAt(copies []*logFile, now time.Time) time.Time {
	if len(copies) == 0 || copies[0].off == 0 && f.growth.size > 0 {
		return time.Time{}
	}
	first := copies[0]
	if first.touched.After(now) || first.packed && !first.touched.Before(first.born()) {
		return time.Time{}
	}
	return f.at(first.touched, now)
}

// grewInto tells whether a copy of f has something that was not in f when that was last looked at.
func (f *logFile) grewInto(copied *logFile) bool {
	if copied.off == 0 {
		return len(copied.start()) > 0
	}
	return !copied.packed && copied.end > f.end
}

// truncatedText says what is lost: so many unread bytes that were seen, and about so many lines in all.
func truncatedText(path string, copies int, unread int64, lines uint64) string {
	if unread > 0 {
		return fmt.Sprintf("%s was truncated with %d bytes unread: about %d lines are lost", path, unread, lines)
	}
	what, destroyed := "truncated while it was written to", "since it was last looked at"
	if copies > 0 {
		what, destroyed = "copied and truncated while it was written to (copytruncate)", "between the two"
	}
	if copies > 1 {
		what = fmt.Sprintf("copied and truncated %d times while it was written to (copytruncate)", copies)
	}
	return fmt.Sprintf("%s was %s: lines written %s may be destroyed, about %d at the rate seen, which is counted as lost; "+
		"to lose none use create in logrotate's configuration, and have the writer open the log again in postrotate",
		path, what, destroyed, lines)
}
