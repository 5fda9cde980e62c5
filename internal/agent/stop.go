package agent

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The bounds of a stop as a whole, counted from its beginning. Each part has a bound of its own, which it keeps to where
// it alone is held up; these are for several that are held up at once. What is left of the five seconds that an agent may
// take is Close's, which also waits for a disk.
const (
	feedersWithin = 2 * time.Second         // the readers, and what answers on sockets
	stopWithin    = 3500 * time.Millisecond // all
	// lastLook is how long a part that has come to its turn too late has got, or one that is through already would be
	// called left behind.
	lastLook = 50 * time.Millisecond
)

// errLeftBehind says that a part of the agent was at work still when its time to stop was over.
var errLeftBehind = errors.New("it did not stop in time and is left behind")

// doneAfter gives a context that is done for good some time after ctx is. The function that comes with it frees it.
func doneAfter(ctx context.Context, d time.Duration) (late context.Context, free context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	forget := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return late, func() { forget(); cancel() }
}

// leave waits for a part of the agent until late is done. One that is at work then goes on by itself until the process
// ends, and the error names it.
func leave(late context.Context, what string, part func() error) error {
	done := make(chan error, 1)
	// Not in an errgroup, whose Wait would wait for a part that hangs.
	go func() { done <- part() }()
	select {
	case err := <-done:
		return err
	case <-late.Done():
	}
	last := time.NewTimer(lastLook)
	defer last.Stop()
	select {
	case err := <-done:
		return err
	case <-last.C:
		return fmt.Errorf("%s: %w", what, errLeftBehind)
	}
}
