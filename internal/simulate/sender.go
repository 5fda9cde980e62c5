package simulate

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"

	"github.com/ctwarden/ctwarden/notify"
)

const (
	// window is how many messages of a connection may be on their way without an acknowledgement.
	window = 1024
	// ackTimeout is how long an acknowledgement may take before the message is sent again.
	ackTimeout = 5 * time.Second
	// again is the wait before what did not get through is sent again.
	again = 500 * time.Millisecond
)

// message is one of a host's, an event or a state.
type message struct {
	*nats.Msg
	event, tried bool
}

func eventMessage(ev notify.Outgoing) message {
	return message{event: true, Msg: &nats.Msg{Subject: ev.Subject, Data: ev.Body, Header: nats.Header{
		nats.MsgIdHdr: {ev.ID}, "Content-Type": {notify.ContentType},
	}}}
}

func stateMessage(id notify.Identity, body []byte) message {
	return message{Msg: &nats.Msg{Subject: notify.HostStateSubject(id.Site, id.Host), Data: body}}
}

// sender is one connection, with what waits for it: the outboxes of the hosts that share it.
type sender struct {
	js    jetstream.JetStream
	tally *tally
	// limit bounds the events of the whole fleet; nil: nothing does.
	limit *rate.Limiter
	// wake has room for one: a second message that waits adds nothing to the first.
	wake chan struct{}

	mu      sync.Mutex
	waiting []message
}

func newSender(nc *nats.Conn, t *tally, limit *rate.Limiter) (*sender, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(2*window), jetstream.WithPublishAsyncTimeout(ackTimeout))
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return &sender{js: js, tally: t, limit: limit, wake: make(chan struct{}, 1)}, nil
}

// add has messages sent, behind those that wait.
func (s *sender) add(all ...message) {
	s.mu.Lock()
	s.waiting = append(s.waiting, all...)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run sends until ctx is done.
func (s *sender) run(ctx context.Context) error {
	for ctx.Err() == nil {
		batch := s.next()
		if len(batch) == 0 {
			select {
			case <-s.wake:
			case <-ctx.Done():
			}
			continue
		}
		left := s.send(ctx, batch)
		if len(left) == 0 {
			continue
		}
		s.mu.Lock()
		s.waiting = append(left, s.waiting...)
		s.mu.Unlock()
		select {
		case <-time.After(again):
		case <-ctx.Done():
		}
	}
	return nil
}

// next takes out what is to be sent now.
func (s *sender) next() []message {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.waiting), window)
	if s.limit != nil {
		n = min(n, s.limit.Burst())
	}
	batch := s.waiting[:n:n]
	if s.waiting = s.waiting[n:]; len(s.waiting) == 0 {
		s.waiting = nil // else the messages before would stay in memory
	}
	return batch
}

// send publishes a batch and waits for what becomes of it. It returns the events that are to be sent again; a state need
// not be, since the next one is on its way.
func (s *sender) send(ctx context.Context, batch []message) (left []message) {
	futures := make([]jetstream.PubAckFuture, len(batch))
	for i := range batch {
		m := &batch[i]
		if m.event && s.limit != nil && s.limit.Wait(ctx) != nil {
			break // the rest has no future
		}
		f, err := s.js.PublishMsgAsync(m.Msg)
		s.tally.sent(m)
		m.tried = true
		if err != nil {
			s.tally.failed(m, err)
			continue
		}
		futures[i] = f
	}
	for i, f := range futures {
		if !s.await(ctx, &batch[i], f) && batch[i].event {
			left = append(left, batch[i])
		}
	}
	return left
}

// await tells whether a message was acknowledged.
func (s *sender) await(ctx context.Context, m *message, f jetstream.PubAckFuture) bool {
	if f == nil {
		return false
	}
	select {
	case ack := <-f.Ok():
		s.tally.acknowledged(m, ack.Duplicate)
		return true
	case err := <-f.Err():
		s.tally.failed(m, err)
	case <-ctx.Done():
	}
	return false
}
