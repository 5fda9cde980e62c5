package agent

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/conntrack"
)

const (
	// discoverEvery is how often namespaces are looked for; a record that names an unknown one has it done at once.
	discoverEvery = 2 * time.Second
	// discoverShare is the part of the time (1/10) that such looks may take, since records can be old or forged.
	discoverShare = 10
	// countersEvery is how often the counters of a quiet namespace other than the first are read. Its count is read
	// far more often, and its counters with it once it stands at countersShare.
	countersEvery = 10 * time.Second
	// countersSettling is the same while the outcome of a step is awaited, which takes the counters of all.
	countersSettling = 500 * time.Millisecond
	countersShare    = 0.80
)

// space is a namespace under watch.
type space struct {
	ns      remediate.NetNS
	next    time.Time // when it is to be read again
	counted time.Time // when its counters were last read
	last    remediate.Reading
	// totals are the counters as last read with them.
	totals remediate.Counters
	peak   uint64
}

// sample reads every namespace that is due, and carries out what follows from it.
func (a *Agent) sample() {
	now := time.Now()
	if a.needsDiscovery(now) {
		a.discover(now)
	}
	for _, s := range a.spaces {
		if !now.Before(s.next) {
			a.read(s, false)
		}
	}
	a.follow()
}

// check reads every namespace on account of records that just came: the ones that they name first, with a step at once
// where it is due. A record that names none means the first namespace, or before Linux 6.17 any.
func (a *Agent) check(named map[uint64]bool) {
	for _, s := range a.spaces {
		if named[s.ns.Inode] || s.ns.Init {
			a.read(s, true)
		}
	}
	a.step()
	for _, s := range a.spaces {
		if !named[s.ns.Inode] && !s.ns.Init {
			a.read(s, false)
		}
	}
	a.follow()
}

// follow carries out what follows from the readings, and what time alone brings.
func (a *Agent) follow() {
	if !a.byHand {
		a.boot()
		a.step()
		a.presize()
	}
	a.settle()
	if now := time.Now(); now.Sub(a.tickedAt) >= tickEvery {
		a.tickedAt = now
		a.queue(a.tracker.Tick(now)...)
		a.auditSources(now)
		if !a.byHand {
			a.decay(now)
			a.saveQuiet()
		}
		a.tellState()
	}
}

// needsDiscovery tells whether it is time to look for namespaces.
func (a *Agent) needsDiscovery(now time.Time) bool {
	return now.Sub(a.discoveredAt) >= discoverEvery
}

// discover brings the list of namespaces up to date.
func (a *Agent) discover(now time.Time) {
	a.noteWritable()
	found, err := a.table.Discover()
	a.discoveredAt, a.discoverCost = now, time.Since(now)
	a.noteIf(noteDiscover, err)
	if err != nil {
		return
	}
	for _, inode := range a.table.Replaced() {
		a.forget(inode) // its counters are not those of the one that has its number now
	}
	there := make(map[uint64]bool, len(found))
	for _, ns := range found {
		there[ns.Inode] = true
		if s := a.spaces[ns.Inode]; s != nil {
			s.ns = ns
			continue
		}
		a.spaces[ns.Inode] = &space{ns: ns}
		if a.discovered {
			a.tracker.Born(now, ns)
		}
	}
	a.discovered = true
	for inode := range a.spaces {
		if !there[inode] {
			a.forget(inode)
		}
	}
}

// noteWritable says it early where the agent may raise the limit but cannot, as in a container.
func (a *Agent) noteWritable() {
	if a.cfg.Policy.Mode != remediate.ModeRemediate {
		a.noteIf(noteReadOnly, nil)
		return
	}
	limits, err := a.table.Limits()
	if err != nil {
		return // that is said where the table is read
	}
	if limits.Writable {
		a.noteIf(noteReadOnly, nil)
		return
	}
	a.noteIf(noteReadOnly, fmt.Errorf("%s, or run the agent there, as root or with CAP_NET_ADMIN", remediate.ReasonReadOnly.Text()))
}

// discoverFor looks for the namespaces that new records name and nobody has seen yet.
func (a *Agent) discoverFor(named map[uint64]bool) {
	now := time.Now()
	if now.Sub(a.discoveredAt) < discoverShare*a.discoverCost {
		return
	}
	for inode := range named {
		if inode != 0 && a.spaces[inode] == nil {
			a.discover(now)
			return
		}
	}
}

// read takes one reading and hands it to the tracker.
func (a *Agent) read(s *space, counters bool) {
	now := time.Now()
	urgent := a.tracker.Critical(s.ns.Inode)
	counters = counters || urgent || a.wantsCounters(s, now)
	r, err := a.table.Read(s.ns.Inode, counters)
	if err == nil && !counters && r.Fill() >= countersShare {
		r, err = a.table.Read(s.ns.Inode, true) // it filled up since the last look: is it refusing?
	}
	if err != nil {
		a.unreadable(s, err)
		return
	}
	if s.ns.Init {
		a.noteIf(noteTable, nil)
	}
	if r.CountersOK {
		s.counted, s.totals = now, r.Counters
	}
	s.last, s.peak = r, max(s.peak, r.Count)
	a.queue(a.nameWriters(a.tracker.Read(now, r))...)
	growth, _ := a.tracker.Growth(s.ns.Inode)
	s.next = now.Add(remediate.SamplePeriod(a.cfg.Policy, r, growth, a.tracker.Critical(s.ns.Inode)))
}

// wantsCounters tells whether a namespace's counters are worth their price, which is high where it has to be entered.
func (a *Agent) wantsCounters(s *space, now time.Time) bool {
	every := countersEvery
	if a.tracker.Settling() {
		every = countersSettling
	}
	return s.ns.Init || s.last.Fill() >= countersShare || now.Sub(s.counted) >= every
}

// unreadable handles a reading that failed: the namespace is gone, or the table is not there.
func (a *Agent) unreadable(s *space, err error) {
	s.next = time.Now().Add(remediate.MaxPeriod)
	switch {
	case s.ns.Init:
		a.noteIf(noteTable, err)
		if errors.Is(err, conntrack.ErrNotLoaded) {
			a.unloaded = true
			a.hashGone()
			a.tracker.TableGone()
		}
	case errors.Is(err, conntrack.ErrGone):
		a.forget(s.ns.Inode)
	default:
		a.cfg.Log.Debug("namespace unreadable", zap.Uint64("netns", s.ns.Inode), zap.Error(err))
	}
}

// forget drops a namespace that is no more.
func (a *Agent) forget(inode uint64) {
	delete(a.spaces, inode)
	a.queue(a.tracker.Gone(time.Now(), inode)...)
}

// nextSample is when the next namespace is due.
func (a *Agent) nextSample(now time.Time) time.Duration {
	next := now.Add(tickEvery)
	for _, s := range a.spaces {
		if s.next.Before(next) {
			next = s.next
		}
	}
	if len(a.files) > 0 && a.filesAfter.Before(next) {
		next = a.filesAfter
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
