package hub

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// outbox publishes what the loop says to hosts and to those who asked, beside it: a server that reads slowly must hold up
// neither the loop nor, by the hub's mutex, the page. What waits is bounded by the number of hosts, which are told again
// after half a minute at the earliest.
type outbox struct {
	nc  *nats.Conn
	log *zap.Logger
	// wake has room for one: a second message adds nothing to the first.
	wake chan struct{}
	// failed has room for what the loop has not looked at; more adds nothing, since an order fails once.
	failed chan unsent

	mu    sync.Mutex
	waits []outgoing
	// ended is true once run has returned.
	ended bool
}

// outgoing is a message; order is the id of the order that it is of, empty: of none.
type outgoing struct {
	subject string
	body    []byte
	order   string
}

// unsent is an order that could not be published.
type unsent struct {
	order string
	err   error
}

func newOutbox(nc *nats.Conn, log *zap.Logger) *outbox {
	return &outbox{nc: nc, log: log, wake: make(chan struct{}, 1), failed: make(chan unsent, 64)}
}

// put never blocks while run runs. Behind its end it publishes itself: that somebody asked too late is still answered.
func (o *outbox) put(m outgoing) {
	o.mu.Lock()
	o.waits = append(o.waits, m)
	ended := o.ended
	o.mu.Unlock()
	if ended {
		o.publish()
		return
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// run publishes until ctx is done, and what waits then.
func (o *outbox) run(ctx context.Context) error {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-o.wake:
		}
		o.publish()
	}
	o.mu.Lock()
	o.ended = true
	o.mu.Unlock()
	o.publish()
	return nil
}

func (o *outbox) publish() {
	o.mu.Lock()
	all := o.waits
	o.waits = nil
	o.mu.Unlock()
	told := map[string]bool{}
	for _, m := range all {
		err := o.nc.Publish(m.subject, m.body)
		if err == nil || told[m.order] {
			continue
		}
		told[m.order] = true
		// The hosts' states tell that they did not hear it; then they are told again.
		o.log.Warn("message_not_sent", zap.String("subject", m.subject), zap.String("order", m.order), zap.Error(err))
		select {
		case o.failed <- unsent{m.order, err}:
		default:
		}
	}
}
