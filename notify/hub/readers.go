package hub

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/hub/web"
)

// readers bounds what readers of the page cost the loop: they share its mutex, and anybody may read.
type readers struct {
	// details has room for those who read one host's state from the bucket at a time.
	details chan struct{}

	turns turns

	mu sync.Mutex
	// groups are as of a revision, made at the time at, which took as long as that.
	groups   []fleet.Group
	revision uint64
	at       time.Time
	took     time.Duration
}

const (
	// maxDetails is how many hosts' states are read from the bucket at a time.
	maxDetails = 4
	// readShare is how much longer than it takes to copy the incidents a copy is good for: so readers have the mutex for no
	// more than a twentieth of the time, however many they are.
	readShare = 20
	// longestTurn bounds the wait between two looks.
	longestTurn = time.Second
)

// turns has readers look at one incident or host one after the other.
type turns struct {
	mu sync.Mutex
	// next is when the next look may begin, cost how long the last one took.
	next time.Time
	cost time.Duration
}

// longestLine bounds how long a reader waits for its turn. One that would wait longer is told to come again.
const longestLine = 5 * time.Second

// look has one reader after the other look at what the loop shares, with a wait between them that leaves it most of the time.
// Nothing is held while a reader waits; one that goes away, which is when ctx is done, does not look.
func (t *turns) look(ctx context.Context, read func()) error {
	t.mu.Lock()
	now := time.Now()
	at := t.next
	if at.Before(now) {
		at = now
	}
	if at.Sub(now) > longestLine {
		t.mu.Unlock()
		return web.ErrBusy
	}
	t.next = at.Add(min((1+readShare)*t.cost, longestTurn))
	t.mu.Unlock()
	if pause(ctx, at.Sub(now)); ctx.Err() != nil {
		return ctx.Err()
	}
	begun := time.Now()
	read()
	ended := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cost = ended.Sub(begun)
	if next := ended.Add(min(readShare*t.cost, longestTurn)); next.After(t.next) {
		t.next = next
	}
	return nil
}

// all are the incidents, copied by f at most so often.
func (r *readers) all(revision func() uint64, f func() []fleet.Group) []fleet.Group {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := revision()
	if r.groups == nil || now != r.revision && r.due() {
		begun := time.Now()
		r.groups, r.revision = f(), now
		r.at = time.Now()
		r.took = r.at.Sub(begun)
	}
	return slices.Clone(r.groups)
}

// due tells whether another copy may be made.
func (r *readers) due() bool { return time.Since(r.at) >= readShare*r.took }

// shown is the revision that readers get to see: the current one, or until another copy is due that of the last, so that
// nobody takes an older copy for the newest.
func (r *readers) shown(current uint64) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.groups == nil || r.due() {
		return current
	}
	return r.revision
}

// detail waits for a place to read one host's state.
func (r *readers) detail(ctx context.Context) (done func(), err error) {
	select {
	case r.details <- struct{}{}:
		return func() { <-r.details }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
