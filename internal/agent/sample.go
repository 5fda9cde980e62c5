package agent

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/conntrack"
)

const (
	// countersEvery is how often the counters of a quiet namespace other than the first are read. Its count is read
	// far more often, and its counters with it once it stands at countersShare.
	countersEvery = 10 * time.Second
	// countersStill is the same where the count has not moved since: nothing came to that table.
	countersStill = 3 * time.Minute
	// countersSettling is the same while the outcome of a step is awaited, which takes the counters of all.
	countersSettling = 500 * time.Millisecond
	// countersHigh is the same of a table at countersShare or above whose count stands: what refuses or throws out, and what
	// comes to be full, moves or has nothing free.
	countersHigh  = 100 * time.Millisecond
	countersShare = 0.80
	// visitMost is how many namespaces are entered for their counters in one go, at 50 to 150 µs each: a table that fills up
	// must not wait for the counters of idle ones. Those with a period below urgentPeriod are entered before the others.
	visitMost    = 16
	urgentPeriod = 50 * time.Millisecond
	// writableEvery is how often it is asked whether the limit may be written, which opens it six times.
	writableEvery = 10 * time.Second
)

// space is a namespace under watch.
type space struct {
	ns      remediate.NetNS
	next    time.Time // when it is to be read again
	period  time.Duration
	counted time.Time // when its counters were last read
	moved   bool      // its count has been another since
	moving  bool      // it was another at the last reading
	last    remediate.Reading
	// totals are the counters as last read with them.
	totals remediate.Counters
	peak   uint64
}

// due are the namespaces that are to be read in a turn, in this order. Urgent are those that refuse or may fill up soon,
// and the first one, but where it is one of the spare ones. Held hold much. Spare need not be read where they and the others,
// which may be spared too and are not due, together hold little, see readSpare.
type due struct{ urgent, held, spare, others, calm []*space }

// sample reads every namespace that is due, and carries out what follows from it.
func (a *Agent) sample() {
	now := time.Now()
	due := a.dueAt(now)
	if a.looks(now) {
		a.table.Together(func() { a.readFirst(due, now) })
		if !a.byHand {
			a.step() // a look may take long
		}
		now = time.Now()
		a.discover(now)
		due = a.dueAt(now)
	}
	a.table.Together(func() {
		a.readFirst(due, now)
		a.readDue(due.calm, now)
	})
	a.follow()
}

// readFirst reads all that are due but the calm ones. What those hold that hold much must be known before the spare ones.
func (a *Agent) readFirst(d due, now time.Time) {
	a.readDue(d.urgent, now)
	a.readDue(d.held, now)
	a.readSpare(d, now)
}

// dueAt lists the namespaces that are to be read in a turn at now. Where the kernel is to be asked what those hold together
// that may be spared, all that hold much are, since what they hold is taken off.
func (a *Agent) dueAt(now time.Time) (d due) {
	spares := a.spares()
	var early []*space // not due, but for that
	for inode, s := range a.spaces {
		isDue := s.due(now)
		switch {
		case spares && s.sparable(now) && !a.tracker.Troubled(inode):
			if isDue {
				d.spare = append(d.spare, s)
			} else {
				d.others = append(d.others, s)
			}
		case !isDue:
			if s.holdsMuch() {
				early = append(early, s)
			}
		case s.ns.Init || s.period < urgentPeriod || a.tracker.Critical(inode):
			d.urgent = append(d.urgent, s)
		case s.holdsMuch():
			d.held = append(d.held, s)
		default:
			d.calm = append(d.calm, s)
		}
	}
	if a.asks(d, now) {
		d.held = append(d.held, early...)
	}
	return d
}

// readDue reads namespaces that are due: first those that need not be entered for it, then by one visit visitMost of the
// others, those of which the next period ends first. The rest stay due for the next turn, which is at once. Until the agent
// is ready all are read: what it does then, as at an operator's order, must not go by half of the tables.
func (a *Agent) readDue(due []*space, now time.Time) {
	slices.SortFunc(due, func(x, y *space) int { return x.next.Add(x.period).Compare(y.next.Add(y.period)) })
	var enter []*space
	var inodes []uint64
	for _, s := range due {
		switch {
		case s.ns.Init || !a.wantsCounters(s, now):
			a.read(s)
		case !a.ready || len(enter) < visitMost:
			enter, inodes = append(enter, s), append(inodes, s.ns.Inode)
		}
	}
	a.table.Visit(inodes)
	for _, s := range enter {
		a.read(s)
	}
}

// due tells whether a namespace is to be read in a turn at now. Some are read before their time, so that those which are
// read equally often come to be read together: each turn of its own wakes the processor up.
func (s *space) due(now time.Time) bool { return s.next.Sub(now) <= s.period/4 }

// check reads every namespace on account of records that just came: the ones that they name first, with a step at once
// where it is due. A record that names none means the first namespace, or before Linux 6.17 any.
func (a *Agent) check(named map[uint64]bool) {
	var meant, others []*space
	for _, s := range a.spaces {
		if named[s.ns.Inode] || s.ns.Init && named[0] {
			meant = append(meant, s)
		} else {
			others = append(others, s)
		}
	}
	// A line of a text log names whatever its writer likes, and a table that is full has its counters read in any case.
	slices.SortFunc(meant, func(x, y *space) int { return cmp.Compare(y.last.Fill(), x.last.Fill()) })
	a.table.Together(func() { a.readAll(meant, func(*space) bool { return true }) })
	a.step()
	now := time.Now()
	a.table.Together(func() { a.readAll(others, func(s *space) bool { return a.wantsCounters(s, now) }) })
	a.follow()
}

// readAll reads the counts of all, since before Linux 6.17 the kernel may mean any of them, and the counters of the first
// namespace and of visitMost others at most, in their order, of those that want them.
func (a *Agent) readAll(spaces []*space, want func(*space) bool) {
	var inodes []uint64
	enter := map[*space]bool{}
	for _, s := range spaces {
		if !s.ns.Init && len(inodes) < visitMost && want(s) {
			enter[s], inodes = true, append(inodes, s.ns.Inode)
		}
	}
	a.table.Visit(inodes)
	for _, s := range spaces {
		a.readWith(s, s.ns.Init || enter[s])
	}
}

// follow carries out what follows from the readings, and what time alone brings.
func (a *Agent) follow() {
	if !a.byHand {
		a.boot()
		a.step()
		a.presize()
	}
	a.settle()
	a.readMemoryAhead(time.Now())
	if now := time.Now(); now.Sub(a.tickedAt) >= a.tickPeriod()/2 {
		a.tickedAt = now
		a.queue(a.tracker.Tick(now)...)
		a.auditSources(now)
		if !a.byHand {
			a.decay(now)
			a.saveQuiet()
			a.keepHold(now)
			a.fleetTick(now)
			a.findTalkers(now)
			if a.pager != nil && a.atRest() {
				a.pager.end(now)
			}
		}
		a.tellState()
	}
}

// read takes one reading, with the counters where they are due, and hands it to the tracker.
func (a *Agent) read(s *space) { a.readWith(s, a.wantsCounters(s, time.Now())) }

// readWith is read with the counters or, where the table does not stand high, without.
func (a *Agent) readWith(s *space, counters bool) {
	now := time.Now()
	r, err := a.table.Read(s.ns.Inode, counters)
	if err == nil && !counters && r.Fill() >= countersShare && (r.Count != s.last.Count || r.Free() == 0) {
		r, err = a.table.Read(s.ns.Inode, true) // it has filled up since the last look: is it refusing?
	}
	if a.table.Restarted() {
		a.tableGone()
	}
	if err != nil {
		a.unreadable(s, err)
		return
	}
	if s.ns.Init {
		a.noteIf(noteTable, nil)
	}
	if s.ns.Init && s.last.Buckets != 0 && r.Buckets != s.last.Buckets {
		a.hash.after = time.Time{} // somebody sized the hash, or it is another one
	}
	s.moving = r.Count != s.last.Count
	s.moved = s.moved || s.moving
	if r.CountersOK {
		s.counted, s.totals, s.moved = now, r.Counters, false
	}
	s.last, s.peak = r, max(s.peak, r.Count)
	a.queueRead(now, a.tracker.Read(now, r))
	with := a.sampling(now, s.ns.Inode)
	with.Spared = a.cover.off && !s.ns.Init && !s.holdsMuch()
	s.period = remediate.SamplePeriod(a.cfg.Policy, r, with)
	s.next = now.Add(s.period)
}

// sampling is what the tracker knows of a table that bears on how often it is read.
func (a *Agent) sampling(now time.Time, inode uint64) remediate.Sampling {
	growth, _ := a.tracker.Growth(inode)
	return remediate.Sampling{Growth: growth, Urgent: a.tracker.Critical(inode), Barred: a.tracker.Barred(now, inode)}
}

// wantsCounters tells whether a namespace's counters are worth their price, which is high where it has to be entered.
func (a *Agent) wantsCounters(s *space, now time.Time) bool {
	if a.tracker.Critical(s.ns.Inode) {
		return true
	}
	every, high := countersEvery, s.last.Fill() >= countersShare
	switch {
	case high:
		every = countersHigh
	case a.tracker.Settling():
		every = countersSettling
	case !s.moved:
		every = countersStill
	}
	return s.ns.Init || high && (s.moving || s.last.Free() == 0) || now.Sub(s.counted) >= every
}

// unreadable handles a reading that failed: the namespace is gone, or the table is not there.
func (a *Agent) unreadable(s *space, err error) {
	s.period = remediate.MaxPeriod
	s.next = time.Now().Add(s.period)
	switch {
	case s.ns.Init:
		a.noteIf(noteTable, err)
		if errors.Is(err, conntrack.ErrNotLoaded) {
			a.tableGone()
		}
	case errors.Is(err, conntrack.ErrGone):
		a.forget(s.ns.Inode)
	default:
		a.cfg.Log.Debug("namespace unreadable", zap.Uint64("netns", s.ns.Inode), zap.Error(err))
	}
}

// tableGone takes that the kernel has, or had for a while, no table at all.
func (a *Agent) tableGone() {
	a.unloaded = true
	a.hashGone()
	a.tracker.TableGone()
}

// forget drops a namespace that is no more.
func (a *Agent) forget(inode uint64) {
	delete(a.spaces, inode)
	a.queue(a.tracker.Gone(time.Now(), inode)...)
}

// nextSample is when the next namespace is due.
func (a *Agent) nextSample(now time.Time) time.Duration {
	next := a.tickedAt.Add(a.tickPeriod())
	for _, s := range a.spaces {
		if s.next.Before(next) {
			next = s.next
		}
	}
	if len(a.files) > 0 && a.filesAfter.Before(next) {
		next = a.filesAfter
	}
	if at := a.discoveredAt.Add(newsAfter(a.discoverSpent)); a.news && a.lookWanted.IsZero() && at.Before(next) {
		next = at
	}
	if at := a.lookWanted.Add(glanceEvery); !a.lookWanted.IsZero() && at.Before(next) {
		next = at
	}
	if len(a.writers.waiting) > 0 && a.writers.until.Before(next) {
		next = a.writers.until
	}
	return max(next.Sub(now), 0)
}

// ranked lists the namespaces, the first one first, then by falling count.
func (a *Agent) ranked() []*space {
	list := make([]*space, 0, len(a.spaces))
	for _, s := range a.spaces {
		list = append(list, s)
	}
	slices.SortFunc(list, func(x, y *space) int {
		switch {
		case x.ns.Init != y.ns.Init && x.ns.Init:
			return -1
		case x.ns.Init != y.ns.Init:
			return 1
		}
		return cmp.Or(cmp.Compare(y.last.Count, x.last.Count), cmp.Compare(x.ns.Inode, y.ns.Inode))
	})
	return list
}
