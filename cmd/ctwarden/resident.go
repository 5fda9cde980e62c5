package main

import (
	"context"
	"runtime/debug"
	"time"
)

// settledAfter is how long after its start the agent has the memory that only the start needed.
const settledAfter = 30 * time.Second

// slim gives back, once, the memory that only the start needed: some 2 MB, which the runtime would keep. It returns when
// that is done or ctx is.
func slim(ctx context.Context) {
	timer := time.NewTimer(settledAfter)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		debug.FreeOSMemory()
	}
}
