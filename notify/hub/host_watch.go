package hub

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
			h.o.Log.Warn("host_states_not_read", zap.Error(err))
			pause(ctx, rest)
		}
	}
	return nil
}

func (h *Hub) followHosts(ctx context.Context) error {
	msgs, err := follow(ctx, h.js, "KV_"+notify.HostsBucket)
	if err != nil {
		return err
	}
	defer msgs.Stop()
	stop := context.AfterFunc(ctx, msgs.Stop) // the library does not hear of ctx while it looks for the stream
	defer stop()
	for {
		m, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		key, ok := strings.CutPrefix(m.Subject(), hostPrefix)
		if !ok || m.Headers().Get(opHeader) != "" {
			continue // who deletes a state says nothing about the host
		}
		s, err := readHostState(key, m.Data())
		if err != nil {
			h.o.Log.Warn("host_state_unreadable", zap.Error(err))
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
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("%w: the bucket %s is missing; run ctwarden-hub init --server URL: %w",
			notify.ErrUnavailable, strings.TrimPrefix(stream, "KV_"), err)
	}
	if err != nil {
		return nil, unavailable("read the bucket "+strings.TrimPrefix(stream, "KV_"), err)
	}
	return cons.Messages()
}
