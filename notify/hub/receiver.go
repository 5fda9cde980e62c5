package hub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/ctwarden/ctwarden/notify"
)

const (
	// maxBatch is how many events a batch has at most.
	maxBatch = 4096
	// attach bounds the wait for the consumer at the start.
	attach = 10 * time.Second
	// drainTime is how long what was delivered is given back for.
	drainTime = 500 * time.Millisecond
	// rest is the wait after the consumer failed.
	rest = time.Second
)

// Receiver reads the fleet's events from the durable consumer, in batches. It is run by the hub that leads; a second one
// at the same time would share the events with it.
type Receiver struct {
	Conn *nats.Conn
	Log  *zap.Logger
	// Take gets what has come, 1 to 4096 events, in the stream's order. It is called from one goroutine and may block, which
	// makes the next batch larger. Whoever has the batch calls its Ack once what it said is saved, or Return where it will
	// not be; a batch for which neither is called comes again after ten seconds. An error ends Run.
	Take func(b Batch) error
	// Ready is called once the consumer was found, before the first event; it may be nil.
	Ready func()

	// unreadable bounds what is logged of events that cannot be read: a host that was taken over can send many.
	unreadable rate.Sometimes
}

// sometimes is how much of what a host can cause at will is logged.
func sometimes() rate.Sometimes { return rate.Sometimes{First: 20, Interval: 10 * time.Second} }

// Batch is a number of events, with the right to acknowledge them.
type Batch struct {
	Events []Delivery
}

// Delivery is one event as the stream delivered it.
type Delivery struct {
	notify.Received
	// Raw is the event's document.
	Raw []byte
	// At is when the stream got it; zero: it does not say.
	At time.Time
	// Again is true where the stream has delivered it before.
	Again bool
	msg   jetstream.Msg
}

// Ack tells the stream that the events need not come again. An acknowledgement that is lost makes an event come twice.
func (b Batch) Ack() {
	for _, d := range b.Events {
		_ = d.msg.Ack()
	}
}

// Return gives the events back, for the next hub or the next Run, without waiting for the time that a dead hub costs.
func (b Batch) Return() {
	for _, d := range b.Events {
		_ = d.msg.Nak()
	}
}

// Run reads until ctx is done, then returns nil. It outlasts a server's restart. It fails at once where the consumer is
// missing or cannot be read, and when Take does.
func (r *Receiver) Run(ctx context.Context) error {
	js, err := jetstream.New(r.Conn)
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	r.unreadable = sometimes()
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
	for ctx.Err() == nil {
		if err := r.consume(ctx, cons); err != nil {
			return err
		}
	}
	return nil
}

// consume reads from one subscription until it breaks, and rests before it returns then. The error is Take's.
func (r *Receiver) consume(ctx context.Context, cons jetstream.Consumer) error {
	// read holds what was decoded and not taken yet. It is closed by the reader.
	read := make(chan Delivery, maxBatch)
	g, within := errgroup.WithContext(ctx)
	g.Go(func() error { return r.take(read) })
	g.Go(func() error {
		defer close(read)
		r.read(within, cons, read)
		return nil
	})
	return g.Wait()
}

// read decodes beside take, since that is half of the work. What was delivered and not taken when it ends is given back.
func (r *Receiver) read(ctx context.Context, cons jetstream.Consumer, into chan<- Delivery) {
	msgs, err := cons.Messages(jetstream.PullMaxMessages(maxBatch), jetstream.WithMessagesErrOnMissingHeartbeat(false))
	if err != nil {
		r.Log.Warn("events_not_read", zap.Error(err))
		pause(ctx, rest)
		return
	}
	stop := context.AfterFunc(ctx, msgs.Drain)
	defer stop()
	// Without a connection a drain has no end.
	drained, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(drainTime, cancel) })()
	for {
		m, err := msgs.Next(jetstream.NextContext(drained))
		switch {
		case err != nil && ctx.Err() != nil:
			return
		case err != nil:
			r.Log.Warn("events_not_read", zap.Error(err))
			msgs.Stop()
			pause(ctx, rest)
			return
		case ctx.Err() != nil:
			_ = m.Nak()
			continue
		}
		d, ok := r.decode(m)
		if !ok {
			continue
		}
		select {
		case into <- d:
		case <-ctx.Done():
			_ = m.Nak()
		}
	}
}

func (r *Receiver) decode(m jetstream.Msg) (Delivery, bool) {
	ev, err := notify.Decode(m.Data())
	if err == nil && m.Subject() != notify.Subject(ev.Site, ev.Host, ev.Event.Type) {
		// A host may publish on its own subjects alone; what it writes into an event is not proof of who it is.
		err = fmt.Errorf("it says that it is %s of host %s at site %s, whose subject is another", ev.Event.Type, ev.Host, ev.Site)
	}
	if err != nil {
		// It will not get better: ended, and said, rather than delivered for ever.
		r.unreadable.Do(func() { r.Log.Error("event_unreadable", zap.String("subject", m.Subject()), zap.Error(err)) })
		_ = m.Term()
		return Delivery{}, false
	}
	d := Delivery{Received: ev, Raw: m.Data(), msg: m}
	if meta, err := m.Metadata(); err == nil {
		d.At, d.Again = meta.Timestamp, meta.NumDelivered > 1
	}
	return d, true
}

// take hands over what there is, without waiting for more.
func (r *Receiver) take(read <-chan Delivery) error {
	for first := range read {
		b := Batch{Events: append(make([]Delivery, 0, len(read)+1), first)}
		for range min(len(read), maxBatch-1) {
			b.Events = append(b.Events, <-read)
		}
		if err := r.Take(b); err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// remembered is how many ids of events are kept, to print none twice that the stream delivers or holds twice.
const remembered = 100_000

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
