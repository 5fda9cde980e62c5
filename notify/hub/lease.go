package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

const (
	// leaseKey is the key of the lease in the bucket of the fleet.
	leaseKey = "lease"
	// renewEvery is how often the leader writes its lease.
	renewEvery = time.Second
	// leaseSafe is how long the leader acts as one after it sent a write that was acknowledged.
	leaseSafe = 3500 * time.Millisecond
	// takeAfter is how long the others wait for the leader's writes before they take the lease, each by its own monotonic
	// clock, so that no two clocks need to agree. What lies between leaseSafe and this is for the pages on their way
	// (oncall.Queue gives an attempt two more seconds), so that no two hubs page at the same time.
	takeAfter = 6 * time.Second
)

const (
	// loopPatience is how long the loop may show no sign of life before the lease is no longer renewed: a save of much, or a
	// batch, takes a second or two.
	loopPatience = 10 * time.Second
	// asideTime is how long a hub whose term failed leaves the lease to the others, by its own wait for it and some.
	asideTime = takeAfter + 2*time.Second
	// leaseWatch is how often it is looked whether the lease still holds.
	leaseWatch = 100 * time.Millisecond
)

// errHung says that the loop takes nothing and tells nothing: another hub is to lead.
var errHung = errors.New("the loop hangs")

// errLeaseLost says that this hub must not act as the leader any more.
var errLeaseLost = errors.New("the lease is lost")

// lease says who leads.
type lease struct {
	// Hub is the leader's name, and ID that of its process. Both are empty where it gave the lease back.
	Hub string `json:"hub,omitempty"`
	ID  string `json:"id,omitempty"`
	// Term counts the leaders.
	Term uint64 `json:"term"`
	// At is for people; nothing depends on it.
	At      time.Time `json:"at"`
	Version string    `json:"version,omitempty"`
}

// entry is the lease as it is written, at the time now.
func (l lease) entry(now time.Time) entry {
	l.At = now.UTC()
	b, err := json.Marshal(l)
	if err != nil {
		panic(err) // texts, a number and a time of this millennium
	}
	return entry{leaseKey, b}
}

// sighting is a lease as a hub that does not lead saw it.
type sighting struct {
	lease
	// moved is when the leader last wrote anything, by this hub's clock. Nobody else writes.
	moved time.Time
}

// free tells whether the lease may be taken: nobody has it, this very process had it, or nothing was written for too long.
func (s sighting) free(self string, now time.Time) bool {
	return s.ID == "" || s.ID == self || now.Sub(s.moved) >= takeAfter
}

// keepLease renews the lease until ctx is done. It returns an error as soon as it is not to be relied on any more.
func (l *leading) keepLease(ctx context.Context) error {
	return every(ctx, renewEvery, func() error {
		if !l.h.Moves(loopPatience) {
			return fmt.Errorf("%w: %w for more than %s", errLeaseLost, errHung, loopPatience)
		}
		if err := l.renew(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("%w: %w", errLeaseLost, err)
		}
		return nil
	})
}

// every calls f once in a period until ctx is done, which is no error, or f returns one.
func every(ctx context.Context, period time.Duration, f func() error) error {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := f(); err != nil {
			return err
		}
	}
}

// renew writes the lease and waits for the acknowledgement, no longer than this hub may act without it.
func (l *leading) renew(ctx context.Context) error {
	// Not cut short by ctx: a hub that ends has more to write behind this.
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), l.store.until())
	defer cancel()
	return l.store.put(ctx, l.lease.entry(time.Now()))
}

// watchLease ends the term when the lease has run out, whatever else is under way: the process was stopped or the machine
// slept, and another hub may lead.
func (l *leading) watchLease(ctx context.Context) error {
	return every(ctx, leaseWatch, func() error {
		if !l.holds() {
			return fmt.Errorf("%w: it was not renewed in time", errLeaseLost)
		}
		return nil
	})
}

// holds tells whether this hub may act as the leader at this moment. It may be called from any goroutine.
func (l *leading) holds() bool { return l.store.left() > 0 }
