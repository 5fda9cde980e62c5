package hub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify"
)

const (
	// batch is how many events are asked for at once.
	batch = 256
	// remembered is how many ids are kept to recognise an event that the stream delivers or holds twice.
	remembered = 100_000
	// attach bounds the wait for the consumer at the start.
	attach = 10 * time.Second
	// rest is the wait after the consumer failed.
	rest = time.Second
)

// Receiver reads the fleet's events from the durable consumer. Several hubs may share it; each event goes to one.
type Receiver struct {
	Conn *nats.Conn
	Log  *zap.Logger
	// Handle takes an event, once per id for as long as this Run remembers it (100,000 ids); the next Run may get it
	// again if the server was killed before it wrote the acknowledgement down. It is called from one goroutine; the
	// event is acknowledged when it returns nil. An error ends Run.
	Handle func(r notify.Received, raw []byte) error
	// Ready is called once the consumer was found, before the first event; it may be nil.
	Ready func()
}

// Run reads until ctx is done, then returns nil. It outlasts a server's restart. It fails at once where the consumer is
// missing or cannot be read, and when Handle does.
func (r *Receiver) Run(ctx context.Context) error {
	js, err := jetstream.New(r.Conn)
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	start, cancel := context.WithTimeout(ctx, attach)
	defer cancel()
	cons, err := js.Consumer(start, notify.StreamName, Consumer)
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("%w: %w", notify.ErrNoStream, err)
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return fmt.Errorf("%w: the consumer %s is missing; run ctwarden-hub init --server URL: %w", notify.ErrUnavailable, Consumer, err)
	case err != nil:
		return unavailable("read the stream "+notify.StreamName, err)
	}
	if r.Ready != nil {
		r.Ready()
	}
	seen := newRecent(remembered)
	for ctx.Err() == nil {
		if err := r.consume(ctx, cons, seen); err != nil {
			return err
		}
	}
	return nil
}

// consume reads from one subscription until it breaks, and rests before it returns then. The error is Handle's.
func (r *Receiver) consume(ctx context.Context, cons jetstream.Consumer, seen *recent) error {
	msgs, err := cons.Messages(jetstream.PullMaxMessages(batch), jetstream.WithMessagesErrOnMissingHeartbeat(false))
	if err != nil {
		r.Log.Warn("events_not_read", zap.Error(err))
		pause(ctx, rest)
		return nil
	}
	defer msgs.Stop()
	for {
		m, err := msgs.Next(jetstream.NextContext(ctx))
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			r.Log.Warn("events_not_read", zap.Error(err))
			pause(ctx, rest)
			return nil
		}
		if err := r.take(m, seen); err != nil {
			return err
		}
	}
}

func (r *Receiver) take(m jetstream.Msg, seen *recent) error {
	ev, err := notify.Decode(m.Data())
	if err != nil {
		// It will not get better: ended, and said, rather than delivered for ever.
		r.Log.Error("event_unreadable", zap.String("subject", m.Subject()), zap.Error(err))
		return r.settle(m.Term())
	}
	if seen.has(ev.Event.ID) {
		return r.settle(m.Ack())
	}
	if err := r.Handle(ev, m.Data()); err != nil {
		return fmt.Errorf("handle event %s: %w", ev.Event.ID, err)
	}
	seen.add(ev.Event.ID)
	return r.settle(m.Ack())
}

// settle notes an acknowledgement that could not be sent: the event comes again and is recognised.
func (r *Receiver) settle(err error) error {
	if err != nil {
		r.Log.Debug("event_not_acknowledged", zap.Error(err))
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// recent remembers the last ids.
type recent struct {
	set  map[string]struct{}
	ring []string
	next int
}

func newRecent(size int) *recent {
	return &recent{set: map[string]struct{}{}, ring: make([]string, size)}
}

func (r *recent) has(id string) bool {
	_, ok := r.set[id]
	return ok
}

func (r *recent) add(id string) {
	delete(r.set, r.ring[r.next])
	r.ring[r.next] = id
	r.set[id] = struct{}{}
	r.next = (r.next + 1) % len(r.ring)
}
