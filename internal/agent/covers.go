package agent

import (
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// coverShare is the part (a quarter) of the limit up to which what several tables hold together covers them.
	coverShare = 4
	// coverRise is the part (1/64) of the limit by which that may rise from one turn to the next. By as much, a table may
	// grow before its growth is measured at once.
	coverRise = 64
)

// cover is what all tables together, but for those that hold much, held at most in the last turn that asked.
type cover struct {
	entries uint64
	known   bool
	untold  bool // the kernel does not tell
	off     bool // so that, or as there may be too many, they are read one by one
}

// holdsMuch tells whether a table holds so much that it is read for itself.
func (s *space) holdsMuch() bool { return s.last.Count > s.last.Max/coverRise }

// sparable tells whether a table may go unread for longer in a turn at now: it holds little, and was read in the last
// second.
func (s *space) sparable(now time.Time) bool {
	return !s.holdsMuch() && s.last.At.Add(remediate.MaxPeriod-s.period/4).After(now)
}

// spares tells whether such tables may go unread, those that have no incident. While the outcome of a step is awaited, the
// counters of all matter.
func (a *Agent) spares() bool { return a.ready && !a.tracker.Settling() }

// readSpare reads namespaces that hold little, but where the kernel has memory for so few entries that none of them can
// be nearly as full as that it would have to be read: with hundreds of namespaces one number is read in the place of
// hundreds. Those that hold much are read before.
func (a *Agent) readSpare(spare []*space, now time.Time) {
	if len(spare) == 0 {
		return
	}
	period, ok := a.covers(now)
	if !ok {
		a.readDue(spare, now)
		return
	}
	for _, s := range spare {
		s.next = now.Add(period)
		if last := s.last.At.Add(remediate.MaxPeriod); last.Before(s.next) {
			s.next = last
		}
	}
}

// covers tells for how long the namespaces that were not read in a turn at now need not be; false: they are to be read.
func (a *Agent) covers(now time.Time) (time.Duration, bool) {
	entries, ok := a.table.Room()
	if a.cover.untold = !ok; !ok {
		a.cover.known, a.cover.off = false, true
		return 0, false
	}
	limit, err := a.table.Limit()
	if err != nil {
		return 0, false
	}
	for _, s := range a.spaces {
		switch {
		case s.ns.Init && s.last.Max != limit:
			return 0, false // somebody set it
		case !s.holdsMuch():
		case s.last.At.Before(now):
			return 0, false // its turn has not come
		default:
			entries -= min(entries, s.last.Count)
		}
	}
	was := a.cover
	a.cover = cover{entries: entries, known: true, off: entries > limit/coverShare}
	if a.cover.off || was.known && entries > was.entries+limit/coverRise {
		return 0, false
	}
	a.tracker.Bound(now, entries)
	most := remediate.Reading{Count: entries, Max: limit}
	return remediate.SamplePeriod(a.cfg.Policy, most, remediate.Sampling{}), true
}
