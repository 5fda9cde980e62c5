package agent

import (
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/conntrack"
)

// talkersShare is the part of the time (1/20) that looks at who fills a table may take, since many namespaces may be full
// at the same time.
const talkersShare = 20

// talkerFinder finds out who fills a table. That takes some 40 ms, so the loop does not wait for it; one look runs at a time.
type talkerFinder struct {
	// sampler prepares a look into a namespace, in the loop; what it returns is called beside it. Nil: there are no looks.
	sampler func(inode uint64) (listTop, error)
	// found has the answer of the look that runs, on a channel of capacity one; nil: none runs.
	found chan topFound
	after time.Time // none begins before
	said  map[error]bool
}

// listTop names who fills a table of so many entries.
type listTop func(count uint64) ([]remediate.Talker, error)

type topFound struct {
	ask  remediate.TopAsk
	top  []remediate.Talker
	took time.Duration
	err  error
}

// newTalkerFinder is for the kernel's own table; below any other root there is none to be listed.
func newTalkerFinder(root string, table *conntrack.Table) talkerFinder {
	f := talkerFinder{said: map[error]bool{}}
	if root == "/" {
		f.sampler = func(inode uint64) (listTop, error) {
			s, err := table.Sampler(inode)
			if err != nil {
				return nil, err
			}
			return s.Top, nil
		}
	}
	return f
}

// findTalkers begins a look at who fills a table, where one is due.
func (a *Agent) findTalkers(now time.Time) {
	f := &a.talkers
	if f.sampler == nil || f.found != nil || now.Before(f.after) {
		return
	}
	ask, ok := a.tracker.AskTop(now)
	if !ok {
		return
	}
	list, err := f.sampler(ask.NetNS.Inode)
	if err != nil {
		a.cfg.Log.Debug("who fills the table is not known", zap.Stringer("netns", ask.NetNS), zap.Error(err))
		return
	}
	found := make(chan topFound, 1)
	f.found = found
	// Not in an errgroup: the stop need not wait for it.
	go func() {
		begin := time.Now()
		top, err := list(ask.Count)
		found <- topFound{ask: ask, top: top, took: time.Since(begin), err: err}
	}()
}

// takeTalkers takes the answer of a look. What the process may not do is said once, with its remedy.
func (a *Agent) takeTalkers(found topFound) {
	f, now := &a.talkers, time.Now()
	f.found, f.after = nil, now.Add(talkersShare*found.took)
	for _, denied := range []error{conntrack.ErrMayNotList, conntrack.ErrMayNotEnter} {
		if errors.Is(found.err, denied) {
			if !f.said[denied] {
				f.said[denied] = true
				a.cfg.Log.Info("who fills the table is not told", zap.Error(denied))
			}
			return
		}
	}
	if found.err != nil {
		a.cfg.Log.Debug("who fills the table is not known", zap.Stringer("netns", found.ask.NetNS), zap.Error(found.err))
		return
	}
	a.queue(a.tracker.SetTop(now, found.ask.IncidentID, found.top)...)
}
