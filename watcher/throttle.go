package watcher

import (
	"context"
	"sync"
	"time"
)

// throttleLeast is the shortest wait that is worth it; what is less is carried over.
const throttleLeast = 2 * time.Millisecond

// Throttle keeps readers together to a share of one CPU's time, so that somebody who writes to a log as fast as the disk
// takes it does not make us use more. It may be shared by any number of them; nil lets them read as fast as they can.
type Throttle struct {
	share float64

	mu   sync.Mutex
	paid time.Time // until when the work done so far uses the share up
}

// NewThrottle makes one for a share above 0 and below 1.
func NewThrottle(share float64) *Throttle { return &Throttle{share: share} }

// worked tells of work that took d just now, and waits as long as it must. It fails only when ctx is done.
func (t *Throttle) worked(ctx context.Context, d time.Duration) error {
	if t == nil {
		return nil
	}
	if wait := t.book(time.Now(), d); wait >= throttleLeast {
		return sleep(ctx, wait)
	}
	return nil
}

// book adds work that ended now, and returns how long to wait for the share to be kept.
func (t *Throttle) book(now time.Time, d time.Duration) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if begun := now.Add(-d); t.paid.Before(begun) {
		t.paid = begun
	}
	t.paid = t.paid.Add(time.Duration(float64(d) / t.share))
	return t.paid.Sub(now)
}
