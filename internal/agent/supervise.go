package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

const (
	// retrySource is the wait before a reader that failed on a defect is started again, doubled each time up to
	// retrySourceMax.
	retrySource    = time.Second
	retrySourceMax = time.Minute
	// sameSpot is how often a reader may fail on a defect without getting any further before what it fails on is passed
	// over.
	sameSpot = 3
	// leaveAfter is how long a reader is waited for when the agent stops: one that is stuck in a call never comes back.
	leaveAfter = time.Second
)

// defect is a reader's panic. One source that fails on what somebody has written must not take the agent with it.
type defect struct {
	cause any
	stack []byte
}

func (d *defect) Error() string { return fmt.Sprintf("a defect of ctwarden's: %v", d.cause) }

// supervise runs a source until ctx is done or it ends for good. After a defect it goes on behind the last batch.
func (a *Agent) supervise(ctx context.Context, e expected, src watcher.Source, position []byte) error {
	wait, failures, lookback := cmp.Or(a.retry, retrySource), 0, a.cfg.Sources.Lookback
	for {
		last, err := a.passOn(ctx, src)
		var bug *defect
		if !errors.As(err, &bug) {
			return err
		}
		a.cfg.Log.Error("source failed on a defect", zap.String("source", e.key()), zap.Any("cause", bug.cause),
			zap.ByteString("stack", bug.stack))
		failures++
		if last != nil {
			position, failures = last, 1
		}
		state := watcher.State{Problem: bug.Error(), Remedy: "report it with the log; it is tried again"}
		stats := watcher.Stats{}
		if failures >= sameSpot {
			// From the end: what was read already is not read again, nor is what it failed on.
			position, failures, lookback = nil, 0, 0
			stats.LostText = "what it failed on was passed over, with all that came up to now"
		}
		if !a.deliver(ctx, watcher.Batch{Source: e.source, Path: e.path, State: &state, Stats: stats}) {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, retrySourceMax)
		if src, err = e.build(position, lookback); err != nil {
			return err
		}
	}
}

// passOn runs a source and hands its batches to the loop. It returns the position behind the last one, nil if there was
// none. When ctx is done, it leaves a reader behind that does not come back.
func (a *Agent) passOn(ctx context.Context, src watcher.Source) (position []byte, err error) {
	out, ended := make(chan watcher.Batch), make(chan error, 1) // unbuffered: nothing is under way when it has ended
	go func() {
		defer func() {
			if cause := recover(); cause != nil {
				ended <- &defect{cause, debug.Stack()}
			}
		}()
		ended <- src.Run(ctx, out)
	}()
	for {
		select {
		case b := <-out:
			if a.deliver(ctx, b) && b.Position.Data != nil {
				position = b.Position.Data
			}
		case err := <-ended:
			return position, err
		case <-ctx.Done():
			return position, a.awaitEnd(ended)
		}
	}
}

// awaitEnd waits for a reader that was told to stop.
func (a *Agent) awaitEnd(ended <-chan error) error {
	patience := time.NewTimer(leaveAfter)
	defer patience.Stop()
	select {
	case err := <-ended:
		return err
	case <-patience.C:
		a.cfg.Log.Warn("a reader is stuck and is left behind")
		return nil
	}
}

// deliver hands a batch to the loop. It is false when ctx is done before.
func (a *Agent) deliver(ctx context.Context, b watcher.Batch) bool {
	to := a.batches
	if b.Source == remediate.SourceSyslog {
		to = a.files
	}
	select {
	case to <- b:
		return true
	case <-ctx.Done():
		return false
	}
}
