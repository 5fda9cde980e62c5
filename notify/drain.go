package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// loop drains the outbox whenever there may be something to drain and a chance to.
type loop struct {
	p     *Publisher
	nc    *nats.Conn
	js    jetstream.JetStream
	retry *backoff.ExponentialBackOff
	timer *time.Timer
	// epoch is the connection that retry belongs to.
	epoch int
	// window is how many events are sent before their acknowledgements are waited for.
	window int
}

func (l *loop) run(ctx, sending context.Context) {
	for {
		select {
		case <-ctx.Done():
			if l.nc.IsConnected() {
				l.p.note(l.drain(sending))
			}
			return
		case <-l.p.wake:
		case <-l.timer.C:
		}
		l.turn(ctx, sending)
	}
}

func (l *loop) turn(ctx, sending context.Context) {
	wait, epoch := l.p.mayDrain()
	if epoch != l.epoch { // a new connection: what failed before may work now
		l.epoch = epoch
		l.retry.Reset()
	}
	if !l.nc.IsConnected() {
		return // Publisher.connected wakes us
	}
	if wait > 0 {
		l.timer.Reset(wait)
		return
	}
	err := l.drain(sending)
	l.p.note(err)
	if err == nil {
		l.retry.Reset()
		if again := l.p.settle(); again > 0 {
			l.timer.Reset(again)
		}
		return
	}
	pause := l.retry.NextBackOff()
	l.p.hold(epoch, pause)
	l.timer.Reset(pause)
	l.mend(ctx, err)
}

// mayDrain tells how long the outbox must still wait, and the number of the connection.
func (p *Publisher) mayDrain() (time.Duration, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Until(p.drainFrom), p.epoch
}

// hold lets the outbox wait after a failure, so that a stream of new events does not turn into a stream of attempts.
// A connection that was made meanwhile has its own wait.
func (p *Publisher) hold(epoch int, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.epoch == epoch {
		p.drainFrom = time.Now().Add(d)
	}
}

// mend asks a server that does not acknowledge whether it is there at all. One that is not is left for another at once
// rather than after the pings have gone unanswered.
func (l *loop) mend(ctx context.Context, err error) {
	if !errors.Is(err, jetstream.ErrAsyncPublishTimeout) || !l.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, stalledWrite)
	defer cancel()
	if err := l.nc.FlushWithContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return
	}
	if err := l.nc.ForceReconnect(); err != nil {
		l.p.opts.Log.Warn("nats_reconnect_failed", zap.Error(err))
	}
}

// drain sends what the outbox holds, a window at a time. It returns nil when nothing is left but events that cannot be
// sent, and otherwise why it stopped.
func (l *loop) drain(ctx context.Context) error {
	l.p.tryPassed()
	for after := uint64(0); ; {
		events, err := l.p.opts.Queue.Peek(after, l.window)
		if err != nil {
			return fmt.Errorf("read the outbox: %w", err)
		}
		if len(events) == 0 {
			return nil
		}
		sent, err := l.p.sendWindow(ctx, l.js, events)
		l.resize(sent, err)
		if err != nil {
			return err
		}
		after = events[len(events)-1].Seq
	}
}

// resize halves the window, or brings it down to what the server has just taken, where it did not take all, and doubles
// it where it did: a link that is slow is not filled with what times out on the way, and a server that refuses is not
// sent thousands of events by each host of a fleet just to refuse them.
func (l *loop) resize(sent int, err error) {
	if err == nil {
		l.window = min(2*l.window, window)
		return
	}
	l.window = max(leastWindow, min(sent, l.window/2))
	if sent > 0 {
		l.retry.Reset() // it moves
	}
}

// sendWindow publishes one window of events, waits for every acknowledgement, and removes what was acknowledged. It
// returns how many these were.
func (p *Publisher) sendWindow(ctx context.Context, js jetstream.JetStream, events []Outgoing) (int, error) {
	waiting := make([]sent, 0, len(events))
	var failure error
	for _, ev := range events {
		if p.isPassed(ev.Seq) {
			continue
		}
		ack, err := js.PublishMsgAsync(message(ev), jetstream.WithExpectStream(StreamName), jetstream.WithRetryAttempts(0))
		if unsendable(err) {
			p.pass(ev, err)
		} else if err != nil {
			failure = reason(ev.Subject, err)
			break
		} else {
			waiting = append(waiting, sent{ev, ack})
		}
	}
	done, err := p.collect(ctx, waiting)
	if failure == nil {
		failure = err
	}
	if err := p.opts.Queue.Ack(done); err != nil {
		return 0, fmt.Errorf("remove published events from the outbox: %w", err)
	}
	return len(done), failure
}
