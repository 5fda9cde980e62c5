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
	// groups are as of a revision, made at the time at, for which the loop was held as long as that.
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
	// line are those who wait, and first the one whose turn it is, which may be looking. Each is closed when its turn comes.
	line []chan struct{}
}

// longestLine bounds how long a reader waits for its turn. One that would wait longer is told to come again.
const longestLine = 5 * time.Second

// look has one reader after the other look at what the loop shares, with a wait between them that leaves it most of the time.
// Nothing is held while a reader waits; one that goes away, which is when ctx is done, does not look, and leaves the line.
// loop is held while read is called.
func (t *turns) look(ctx context.Context, loop sync.Locker, read func()) error {
	latest := time.Now().Add(longestLine)
	turn := t.enter(latest)
	if turn == nil {
		return web.ErrBusy
	}
	defer t.leave(turn)
	timer := time.NewTimer(longestLine)
	defer timer.Stop()
	select {
	case <-turn:
	case <-timer.C:
		return web.ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
	t.mu.Lock()
	at := t.next
	t.mu.Unlock()
	if at.After(latest) {
		return web.ErrBusy
	}
	if pause(ctx, time.Until(at)); ctx.Err() != nil {
		return ctx.Err()
	}
	cost := holding(loop, read)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cost = cost
	t.next = time.Now().Add(t.rest())
	return nil
}

// holding calls f with the loop held, and tells for how long it was: to wait for it costs the loop nothing.
func holding(loop sync.Locker, f func()) time.Duration {
	loop.Lock()
	defer loop.Unlock()
	begun := time.Now()
	f()
	return time.Since(begun)
}

// rest is how long the loop is left alone after a look. The caller holds mu.
func (t *turns) rest() time.Duration { return min(readShare*t.cost, longestTurn) }

// enter takes a place at the end of the line, or nil where the turn would come too late.
func (t *turns) enter(latest time.Time) chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := time.Now()
	if t.next.After(at) {
		at = t.next
	}
	if at.Add(time.Duration(len(t.line)) * (t.cost + t.rest())).After(latest) {
		return nil
	}
	turn := make(chan struct{})
	if t.line = append(t.line, turn); len(t.line) == 1 {
		close(turn)
	}
	return turn
}

// leave takes a reader that has looked, or does not want to any more, out of the line.
func (t *turns) leave(turn chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := slices.Index(t.line, turn)
	t.line = slices.Delete(t.line, at, at+1)
	if at == 0 && len(t.line) > 0 {
		close(t.line[0])
	}
}

// all are the incidents, copied by f with the loop held, at most so often.
func (r *readers) all(loop sync.Locker, revision func() uint64, f func() []fleet.Group) []fleet.Group {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := revision()
	if r.groups == nil || now != r.revision && r.due() {
		r.took = holding(loop, func() { r.groups, r.revision = f(), now })
		r.at = time.Now()
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
