package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// The bounds of listening.
const (
	// orderRoom is how many orders may wait. More are dropped: the hub says again what a host has not heard.
	orderRoom = 64
	// orderEvery is the least time between two orders, whatever is sent.
	orderEvery = 50 * time.Millisecond
	// answerSpread is the longest wait, chosen at random, before an order that went to many is answered.
	answerSpread = 2 * time.Second
)

// listener hears the fleet's orders over the publisher's connection. A full conntrack table could refuse another one just
// when the fleet has something to say.
type listener struct {
	p     *Publisher
	timer *time.Timer
	// due are the answers that wait, the earliest first. There are no more than come in answerSpread.
	due []dueAnswer
}

type dueAnswer struct {
	at   time.Time
	body []byte
}

// subscribe asks for the orders. The library asks again at every reconnect.
func (p *Publisher) subscribe(nc *nats.Conn) error {
	if p.opts.Order == nil {
		return nil
	}
	var errs []error
	for _, subject := range CommandSubjects(p.opts.Identity.Site, p.opts.Identity.Host) {
		_, err := nc.Subscribe(subject, p.hear)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// hear has an order wait for its turn. It never blocks.
func (p *Publisher) hear(m *nats.Msg) {
	if isAcknowledgement(m.Data) {
		return
	}
	select {
	case p.orders <- m:
	default:
	}
}

// isAcknowledgement tells the server's acknowledgement of somebody's event. A host that was taken over can have it sent
// here, by naming this subject for the reply, as often as it likes; it must not take the orders' room, nor be answered.
func isAcknowledgement(body []byte) bool {
	var ack struct {
		ID     string `json:"id"`
		Stream string `json:"stream"`
	}
	return json.Unmarshal(body, &ack) == nil && ack.Stream != "" && ack.ID == ""
}

// listen has the orders carried out, one after the other, and answers them, until ctx is done.
func (p *Publisher) listen(ctx context.Context) {
	if p.opts.Order == nil {
		return
	}
	l := &listener{p: p, timer: time.NewTimer(time.Hour)}
	defer l.timer.Stop()
	for {
		select {
		case <-ctx.Done():
			l.answer(time.Now().Add(answerSpread)) // all that wait
			return
		case m := <-p.orders:
			l.take(ctx, m)
			if !pause(ctx, orderEvery) {
				continue
			}
		case <-l.timer.C:
		}
		l.answer(time.Now())
		if len(l.due) > 0 {
			l.timer.Reset(max(time.Until(l.due[0].at), time.Millisecond))
		}
	}
}

// pause waits; it returns false where ctx is done before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// take has one order carried out and puts its answer where it waits for its time.
func (l *listener) take(ctx context.Context, m *nats.Msg) {
	c, err := DecodeCommand(m.Data)
	a := l.p.opts.Order(ctx, c, err)
	id := l.p.opts.Identity
	a.ID, a.Site, a.Host, a.At = c.ID, id.Site, id.Host, time.Now()
	body, err := a.Encode()
	if err != nil {
		l.p.opts.Log.Error("fleet_order_not_answered", zap.Error(err))
		return
	}
	due := dueAnswer{at: a.At, body: body}
	if m.Subject != CommandToHost(id.Site, id.Host) {
		due.at = due.at.Add(rand.N(answerSpread))
	}
	l.due = append(l.due, due)
	slices.SortStableFunc(l.due, func(x, y dueAnswer) int { return cmp.Compare(x.at.UnixNano(), y.at.UnixNano()) })
}

// answer sends what is due at now. An answer that cannot be sent is left out: the host's state tells the same.
func (l *listener) answer(now time.Time) {
	l.p.mu.Lock()
	nc := l.p.nc
	l.p.mu.Unlock()
	subject := AnswerSubject(l.p.opts.Identity.Site, l.p.opts.Identity.Host)
	for len(l.due) > 0 && !l.due[0].at.After(now) {
		if err := nc.Publish(subject, l.due[0].body); err != nil {
			l.p.opts.Log.Warn("fleet_order_not_answered", zap.Error(err))
		}
		l.due = l.due[1:]
	}
}

// ofOrders tells whether a denial is of orders or their answers. It costs nothing else: it explains no timeout of an
// event and does not show as the connection's problem.
func ofOrders(denial error) bool {
	text := denial.Error()
	return strings.Contains(text, `"`+CommandPrefix+".") || strings.Contains(text, `"`+AnswerPrefix+".")
}

// noOrders keeps why orders do not come through, and says each reason once for as long as the agent runs: it comes back
// with every connection.
func (p *Publisher) noOrders(denial error) {
	p.mu.Lock()
	known := p.ordersTold[denial.Error()]
	p.ordersTold[denial.Error()], p.order = true, denial
	p.mu.Unlock()
	if !known {
		p.opts.Log.Warn("fleet_orders_not_heard", zap.String("problem", string(ProblemOf(denial))), zap.Error(denial),
			zap.String("meaning", "the fleet's hold and mode do not reach this host; everything else goes on"))
	}
}
