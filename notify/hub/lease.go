package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.uber.org/zap"
)

const (
	// leaseKey is the key of the lease in the bucket of the fleet.
	leaseKey = "lease"
	// renewEvery is how often the leader writes its lease.
	renewEvery = 2 * time.Second
	// leaseSafe is how long the leader acts on a lease after it sent the write that renewed it.
	leaseSafe = 4 * time.Second
	// takeAfter is how long the others wait for the lease to move before they take it, each by its own monotonic clock. The
	// difference to leaseSafe is what keeps two hubs from paging at the same time.
	takeAfter = 6 * time.Second
)

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

func (l lease) entry() (entry, error) {
	b, err := json.Marshal(l)
	return entry{leaseKey, b}, err
}

// sighting is a lease as a hub that does not lead saw it.
type sighting struct {
	lease
	// seen is when it last moved, by this hub's clock.
	seen time.Time
}

// free tells whether the lease may be taken: nobody has it, this very process had it, or it did not move for long enough.
func (s sighting) free(self string, now time.Time) bool {
	return s.ID == "" || s.ID == self || now.Sub(s.seen) >= takeAfter
}

// keepLease renews the lease until ctx is done. It returns why it could not, once the lease is not to be relied on any
// more, or nil when ctx is done.
func (l *leading) keepLease(ctx context.Context) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		sent := time.Now()
		if err := l.renew(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("renew the lease: %w", err)
		}
		l.valid.Store(sent.Add(leaseSafe).Sub(l.began).Nanoseconds())
	}
}

func (l *leading) renew(ctx context.Context) error {
	l.lease.At = time.Now().UTC()
	e, err := l.lease.entry()
	if err != nil {
		return err
	}
	f, err := l.store.put(e)
	if err != nil {
		return err
	}
	return l.store.settled(ctx, leaseKey, f)
}

// holds tells whether this hub may act as the leader at this moment.
func (l *leading) holds() bool { return time.Since(l.began).Nanoseconds() < l.valid.Load() }

// release gives the lease back, so that another hub need not wait. It is the last write of a term.
func (l *leading) release(ctx context.Context) {
	e, err := lease{Term: l.lease.Term, At: time.Now().UTC()}.entry()
	if err != nil {
		return
	}
	if err := l.store.write(ctx, []entry{e}); err != nil {
		l.log.Debug("lease_not_released", zap.Error(err))
	}
}
