package agent

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/conntrack"
)

const (
	// glanceEvery is how often it is asked whether there are new namespaces, and at once where a mount came or went; they are
	// looked for where there are or where that cannot be told, every discoverEvery in any case, and at once where a record
	// names one that is unknown. Where a look takes long, as among thousands of processes, they are further apart, so that
	// they take no more than discoverNews (1/100) of the time where there is news, beyond discoverBurst at once, discoverQuiet
	// (1/1000) where it cannot be told, both up to discoverEvery, and discoverIdle (1/5000) where there is none, up to
	// discoverMost.
	glanceEvery   = 2 * time.Second
	discoverEvery = 9 * time.Second
	discoverMost  = 25 * time.Second
	discoverNews  = 100
	discoverBurst = 20 * time.Millisecond
	discoverQuiet = 1000
	discoverIdle  = 5000
	// discoverShare is the part of the time (1/10) that such looks may take, since records can be old or forged.
	discoverShare = 10
)

// needsDiscovery tells whether it is time to look for namespaces.
func (a *Agent) needsDiscovery(now time.Time) bool {
	since := now.Sub(a.discoveredAt)
	if since >= idleDiscovery(a.discoverCost) {
		return true
	}
	told := true
	if a.mounted || now.Sub(a.glancedAt) >= glanceEvery && since >= glanceEvery {
		var news bool
		news, told = a.table.Changed()
		a.glancedAt, a.mounted, a.news = now, false, a.news || news
	}
	switch {
	case a.news:
		return since >= newsAfter(a.discoverSpent)
	case !told:
		return since >= min(discoverQuiet*a.discoverCost, discoverEvery)
	}
	return false
}

// looks tells whether a look for namespaces is taken in a turn at now. One in the course of which a table could be full that
// a step would give room waits until it has room again, for glanceEvery at most.
func (a *Agent) looks(now time.Time) bool {
	if a.lookWanted.IsZero() {
		if !a.needsDiscovery(now) {
			return false
		}
		a.lookWanted = now
	}
	return now.Sub(a.lookWanted) >= glanceEvery || !a.anyFullWithin(now, a.discoverCost)
}

// anyFullWithin tells whether a table may be full before a look that takes so long is over and it is read.
func (a *Agent) anyFullWithin(now time.Time, cost time.Duration) bool {
	for inode, s := range a.spaces {
		r := s.last
		if a.cover.known && !s.holdsMuch() {
			r.Count = max(r.Count, min(a.cover.entries, r.Max)) // it went unread for that
		}
		if remediate.FullWithin(a.cfg.Policy, r, a.sampling(now, inode), s.period+cost) {
			return true
		}
	}
	return false
}

// newsAfter is how long after a look another one is taken where there is news, by what was spent on looks.
func newsAfter(spent time.Duration) time.Duration {
	return min(max(discoverNews*(spent-discoverBurst), 0), discoverEvery)
}

// spend counts what a look took, beside what the looks before it took beyond their share of the time since; no more than
// keeps the next one away for discoverEvery.
func (a *Agent) spend(now time.Time, cost time.Duration) {
	left := max(a.discoverSpent-now.Sub(a.discoveredAt)/discoverNews, 0)
	a.discoverSpent = min(left+cost, discoverBurst+discoverEvery/discoverNews)
	a.discoveredAt, a.discoverCost = now, cost
}

// idleDiscovery is how long after a look that took cost another one is taken though nothing asks for it.
func idleDiscovery(cost time.Duration) time.Duration {
	return min(max(discoverEvery, discoverIdle*cost), discoverMost)
}

// watchMounts has the loop ask for new namespaces when mounts come or go. Without it the loop does so in glanceEvery.
func (a *Agent) watchMounts(ctx context.Context) error {
	if err := conntrack.WatchMounts(ctx, a.mounts); err != nil {
		a.cfg.Log.Warn("new namespaces are noticed later", zap.Duration("after", glanceEvery), zap.Error(err))
	}
	return nil
}

// discover brings the list of namespaces up to date.
func (a *Agent) discover(now time.Time) {
	a.noteWritable(now)
	found, err := a.table.Discover()
	a.spend(now, time.Since(now))
	a.news, a.lookWanted = false, time.Time{}
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
		a.spaces[ns.Inode] = &space{ns: ns, next: now, period: remediate.MaxPeriod}
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
func (a *Agent) noteWritable(now time.Time) {
	if now.Sub(a.writableAt) < writableEvery {
		return
	}
	a.writableAt = now
	if a.cfg.Policy.Mode != remediate.ModeRemediate {
		a.noteIf(noteReadOnly, nil)
		a.noteIf(noteUntold, nil)
		return
	}
	a.applier.KeepReserve()
	limits, err := a.table.Limits()
	if err != nil {
		return // that is said where the table is read
	}
	if limits.Writable {
		a.noteIf(noteReadOnly, nil)
		a.noteUntold()
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

// discoverUnnamed looks for namespaces where new records name none and the last look is long ago: they may be of one that
// nobody has seen yet. The known ones have been read before: where none of them refuses, and the kernel itself says so, it
// need not be as long.
func (a *Agent) discoverUnnamed(named map[uint64]bool, kernel bool) {
	if !named[0] {
		return
	}
	apart := discoverShare * a.discoverCost
	if !kernel || a.anyCritical() {
		apart = max(apart, glanceEvery)
	}
	if now := time.Now(); now.Sub(a.discoveredAt) >= apart {
		a.discover(now)
		a.sample()
	}
}

// anyCritical tells whether a namespace is known to refuse.
func (a *Agent) anyCritical() bool {
	for inode := range a.spaces {
		if a.tracker.Critical(inode) {
			return true
		}
	}
	return false
}
