package hub

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ctwarden/ctwarden/notify/fleet"
)

// readers bounds what readers of the page cost the loop: they share its mutex, and anybody may read.
type readers struct {
	// details has room for those who read one host's state from the bucket at a time.
	details chan struct{}

	// turn is held by whoever looks at one incident or host: for cost, until ended.
	turn  sync.Mutex
	cost  time.Duration
	ended time.Time

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

// look has one reader after the other look at what the loop shares, with a wait between them that leaves it most of the time.
func (r *readers) look(read func()) {
	r.turn.Lock()
	defer r.turn.Unlock()
	pause(context.Background(), min(readShare*r.cost-time.Since(r.ended), longestTurn))
	begun := time.Now()
	read()
	r.ended = time.Now()
	r.cost = r.ended.Sub(begun)
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
