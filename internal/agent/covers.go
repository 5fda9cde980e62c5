package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// coverShare is the part (a quarter) of the limit up to which what several tables hold together covers them.
const coverShare = 4

// coverMost is how long a table that others cover may go unread; the first one goes unread for [remediate.MaxPeriod].
const coverMost = 4 * time.Second

// cover is what all tables together, but for those that hold much, held at most when the kernel was last asked.
type cover struct {
	asked   time.Time
	entries uint64
	known   bool
	// off is true where that is too much to cover them, or not known: they are read one by one, half as often as others
	// where a step can follow.
	off bool
}

// holdsMuch tells whether a table holds so much that it is read for itself.
func (s *space) holdsMuch() bool { return s.last.Count > s.last.Max/remediate.RateShare }

// unreadUntil is how long a table may go unread where others cover it.
func (s *space) unreadUntil() time.Time {
	if s.ns.Init {
		return s.last.At.Add(remediate.MaxPeriod)
	}
	return s.last.At.Add(coverMost)
}

// sparable tells whether a table may go unread for longer in a turn at now: it holds little, and was read not long ago.
func (s *space) sparable(now time.Time) bool {
	return !s.holdsMuch() && s.unreadUntil().Add(-s.period/4).After(now)
}

// spares tells whether such tables may go unread, those that have no incident. While the outcome of a step is awaited, the
// counters of all matter.
func (a *Agent) spares() bool { return a.ready && !a.tracker.Settling() }

// readSpare reads the tables that hold little and are due, unless all of them together, with the others that hold little and
// are not due, hold so little that none can be nearly full: they then stay unread until the kernel is asked again, coverMost
// after their last reading at most. Those that hold much are read before.
func (a *Agent) readSpare(d due, now time.Time) {
	if !a.asks(d, now) {
		a.readDue(d.spare, now)
		return
	}
	all := slices.Concat(d.spare, d.others)
	switch period, covered := a.askCover(now); {
	case covered:
		for _, s := range all {
			s.next = now.Add(period)
			if until := s.unreadUntil(); until.Before(s.next) {
				s.next = until
			}
		}
	case a.cover.off:
		a.readDue(d.spare, now)
	default: // what rose may be any of them
		a.readDue(all, now)
	}
}

// asks tells whether the kernel is asked what the tables hold that may be spared: where one of several is due, and where that
// was too much, or not told, once a second. A single one is read as cheaply.
func (a *Agent) asks(d due, now time.Time) bool {
	return len(d.spare) > 0 && len(d.spare)+len(d.others) > 1 && (!a.cover.off || now.Sub(a.cover.asked) >= remediate.MaxPeriod)
}

// askCover asks the kernel for how many entries it has memory, and tells for how long the tables that hold little need not
// be read for that; false: they are to be read.
func (a *Agent) askCover(now time.Time) (time.Duration, bool) {
	was := a.cover
	a.cover = cover{asked: now, off: true}
	entries, err := a.table.Room()
	if err != nil {
		return 0, false
	}
	limit, err := a.table.Limit()
	if err != nil {
		return 0, false
	}
	a.cover.entries, a.cover.known, a.cover.off = was.entries, was.known, false
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
	a.cover = cover{asked: now, entries: entries, known: true, off: entries > limit/coverShare}
	if a.cover.off || was.known && entries > was.entries+limit/remediate.RateShare {
		return 0, false
	}
	a.tracker.Bound(now, entries)
	most := remediate.Reading{Count: entries, Max: limit}
	return remediate.SamplePeriod(a.cfg.Policy, most, remediate.Sampling{}), true
}

// noteUntold says what to do where the limit may be raised, but the kernel does not tell this process how many entries there
// are in all.
func (a *Agent) noteUntold() {
	_, err := a.table.Room()
	if !errors.Is(err, fs.ErrPermission) {
		a.noteIf(noteUntold, nil) // it tells, or tells nobody
		return
	}
	a.noteIf(noteUntold, fmt.Errorf("entries in namespaces that cannot be seen are not counted when the hash is sized, and those "+
		"seen are read one by one: %w; systemctl reload ctwarden opens it, with remediate.conf of this version linked", err))
}
