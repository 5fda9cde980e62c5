package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrNotConnected says that the host's state was not sent because there is no connection. It need not be logged: the
// status says why.
var ErrNotConnected = errors.New("not connected to NATS")

// hostStateStream is the stream behind the bucket [HostsBucket].
const hostStateStream = "KV_" + HostsBucket

// HostStateSubject is where a host's state is published: the bucket's own subject, so that a host needs no right but
// to publish there.
func HostStateSubject(site, host string) string {
	return "$KV." + HostsBucket + "." + HostKey(site, host)
}

// sent is an event on its way.
type sent struct {
	event Outgoing
	ack   jetstream.PubAckFuture
}

func message(ev Outgoing) *nats.Msg {
	return &nats.Msg{Subject: ev.Subject, Data: ev.Body, Header: nats.Header{
		nats.MsgIdHdr: {ev.ID}, "Content-Type": {ContentType},
	}}
}

// collect waits for the acknowledgements, each of which comes or times out by itself. It returns the events that were
// stored, and the first reason why one was not.
func (p *Publisher) collect(ctx context.Context, waiting []sent) (done []uint64, failure error) {
	for _, s := range waiting {
		select {
		case <-s.ack.Ok():
			done = append(done, s.event.Seq)
		case err := <-s.ack.Err():
			if unsendable(err) {
				p.pass(s.event, err)
			} else if failure == nil {
				failure = p.explain(s.event.Subject, err)
			}
		case <-ctx.Done():
			// Some may have been acknowledged that stood behind; they are sent again, under the same id.
			return done, ctx.Err()
		}
	}
	return done, failure
}

// explain prefers the server's own word about permissions to the timeout that it shows as.
func (p *Publisher) explain(subject string, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	timeout := errors.Is(err, jetstream.ErrAsyncPublishTimeout) || errors.Is(err, context.DeadlineExceeded)
	for text, d := range p.denials {
		if timeout && (strings.Contains(text, `"`+subject+`"`) || strings.Contains(text, "subscription")) {
			return d
		}
	}
	return reason(subject, err)
}

// PutState replaces the host's state in the key-value bucket, where it lasts for the bucket's time to live. An error is
// noted in the status and returned; it never means that events are lost.
func (p *Publisher) PutState(ctx context.Context, body []byte) error {
	p.mu.Lock()
	js, up := p.js, p.status.Connected
	p.mu.Unlock()
	if js == nil || !up {
		return ErrNotConnected
	}
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	subject := HostStateSubject(p.opts.Identity.Site, p.opts.Identity.Host)
	_, err := js.Publish(ctx, subject, body, jetstream.WithExpectStream(hostStateStream), jetstream.WithRetryAttempts(0))
	if err != nil {
		err = fmt.Errorf("host state: %w", p.explain(subject, err))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.host = err
	return err
}
