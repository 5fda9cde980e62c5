package oncall

import (
	"context"
	"time"
)

// Sender takes notifications to people over one protocol. It is safe for concurrent use; a queue calls it from one
// goroutine.
type Sender interface {
	// Send makes one attempt, which ends with ctx and after the configured timeout at the latest. [Retryable] tells what
	// its error means, [Delivered] whether it got through all the same.
	Send(ctx context.Context, n Notification) error
}

// Repeater is a sender to a place that forgets what it is not told again.
type Repeater interface {
	// Repeat is how often an open trouble is told, and for how long one that is over.
	Repeat() (every, resolvedFor time.Duration)
	// Again tells several notifications once more, in one attempt, as Send does.
	Again(ctx context.Context, all []Notification) error
}

// Options are what senders need to know of the program.
type Options struct {
	// Program is the name and version that the other end sees, such as "ctwarden-hub/0.4.0".
	Program string
	// May is asked before each attempt of a queue, from its Run, whether it may be made; nil: it may. Where it may not, what
	// waits goes on waiting.
	May func() bool
}
