package hub

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify"
)

// hostPrefix precedes a host's key in the subject of its state.
const hostPrefix = "$KV." + notify.HostsBucket + "."

// watchHosts follows the bucket of host states until ctx is done: first what is there, then each change. A consumer that is
// lost is made anew by the library; where that does not come about, it is begun again from the start.
func (h *Hub) watchHosts(ctx context.Context) error {
	for ctx.Err() == nil {
		err := h.followHosts(ctx)
		if err != nil && ctx.Err() == nil {
			h.unheard(err)
			h.o.Log.Warn("host_states_not_read", zap.Error(err))
			pause(ctx, rest)
		}
	}
	return nil
}

// watch is how far the bucket of host states was read.
type watch struct {
	// seq is the sequence number of the last message that was read.
	seq atomic.Uint64
	// stop begins anew; nil: it is about to.
	stop atomic.Pointer[func()]

	// stuck is seq as it was when the last message of the bucket was found to be another one, since then. Both belong to the
	// goroutine that asks.
	stuck uint64
	since time.Time
	// last is the last message of the bucket, as found at the time asked; zero: the bucket was full then, or not asked yet.
	last  uint64
	asked time.Time
	// upTo is the time up to which all was heard.
	upTo time.Time
}

// heard is for how long the bucket was heard since it was last asked for its last message: not at all where it was not asked
// for long, is not read, took no state, or what it had then has not come.
func (w *watch) heard(last uint64, full bool, now time.Time) (d time.Duration) {
	if !w.asked.IsZero() && !full && w.stop.Load() != nil && w.seq.Load() >= w.last {
		d, w.upTo = now.Sub(w.asked), w.asked
	}
	if w.last, w.asked = last, now; full {
		w.asked = time.Time{}
	}
	if d > 2*backlogEvery {
		return 0
	}
	return d
}

// watchStale is for how long nothing may come of a bucket that has more.
const watchStale = 10 * time.Second

// look has the bucket read anew where it has messages that do not come: where a server died, the library may wait for it for
// ever, and every host would look silent. It tells whether it did.
func (w *watch) look(last uint64, now time.Time) bool {
	seq := w.seq.Load()
	if seq >= last || seq != w.stuck || w.since.IsZero() {
		w.stuck, w.since = seq, now
		return false
	}
	if now.Sub(w.since) < watchStale {
		return false
	}
	w.since = time.Time{}
	return w.again()
}

// errAnew says that the bucket was removed and made anew: its messages are numbered from the start, and whoever follows the
// old one waits for them to come up to where it was.
var errAnew = errors.New("the bucket was made anew")

// again has the bucket read from the start. It tells whether it did.
func (w *watch) again() bool {
	stop := w.stop.Swap(nil)
	if stop != nil {
		(*stop)()
	}
	return stop != nil
}

func (h *Hub) followHosts(ctx context.Context) error {
	msgs, err := follow(ctx, h.js, "KV_"+notify.HostsBucket)
	if err != nil {
		return err
	}
	defer msgs.Stop()
	stop := context.AfterFunc(ctx, msgs.Stop) // the library does not hear of ctx while it looks for the stream
	defer stop()
	unreadable := sometimes()
	again := msgs.Stop
	h.watch.seq.Store(0)
	h.watch.stop.Store(&again)
	defer h.watch.stop.Store(nil)
	for {
		m, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		if meta, err := m.Metadata(); err == nil {
			h.watch.seq.Store(meta.Sequence.Stream)
		}
		key, ok := strings.CutPrefix(m.Subject(), hostPrefix)
		if !ok || m.Headers().Get(opHeader) != "" {
			continue // who deletes a state says nothing about the host
		}
		s, err := readHostState(key, m.Data())
		if err != nil {
			unreadable.Do(func() { h.o.Log.Warn("host_state_unreadable", zap.Error(err)) })
			continue
		}
		h.hostSeen(s, arrived(m))
	}
}

// arrived is when the server stored the message, unless its clock is ahead of ours.
func arrived(m jetstream.Msg) time.Time {
	now := time.Now()
	if meta, err := m.Metadata(); err == nil && meta.Timestamp.Before(now) {
		return meta.Timestamp
	}
	return now
}

// follow reads a bucket's stream from the last message of each key on.
func follow(ctx context.Context, js jetstream.JetStream, stream string) (jetstream.MessagesContext, error) {
	start, cancel := context.WithTimeout(ctx, attach)
	defer cancel()
	cons, err := js.OrderedConsumer(start, stream, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy})
	if err != nil {
		return nil, noBucket(stream, err)
	}
	return cons.Messages()
}

// noBucket says why the bucket behind a stream cannot be read, and what to do.
func noBucket(stream string, err error) error {
	bucket := strings.TrimPrefix(stream, "KV_")
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%w: the bucket %s is missing; run ctwarden-hub init --server URL: %w", notify.ErrUnavailable, bucket, err)
	}
	return unavailable("read the bucket "+bucket, err)
}
