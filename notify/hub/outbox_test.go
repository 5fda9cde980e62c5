package hub

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify"
)

// TestOrderThatCannotBeSent: who ordered it is told, once, and not that it was done.
func TestOrderThatCannotBeSent(t *testing.T) {
	srv := startServer(t, "127.0.0.1:0", t.TempDir())
	nc, _ := connect(t, srv.URL())
	nc.Close()
	l := &leading{log: zap.NewNop(), outbox: newOutbox(nc, zap.NewNop())}
	l.orders = newOrders(l)
	var told []error
	l.orders.count("c-1", &tally{ends: time.Now().Add(time.Hour), reply: func(_ counts, err error) { told = append(told, err) }})
	c := notify.Command{ID: "c-1", Rev: 1, At: time.Now(), By: "ada", Verb: notify.CommandHold}
	for range 3 {
		l.orders.publish(notify.CommandToAll(), c.ID, c)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.outbox.run(ctx); err != nil {
		t.Fatal(err)
	}
	l.orders.unsent(<-l.outbox.failed)
	l.orders.unsent(unsent{"c-1", nats.ErrConnectionClosed})
	if len(told) != 1 || !errors.Is(told[0], nats.ErrConnectionClosed) {
		t.Errorf("told %v", told)
	}
}

// TestAnsweredAfterTheEnd: a request that comes as the term ends is answered.
func TestAnsweredAfterTheEnd(t *testing.T) {
	srv := startServer(t, "127.0.0.1:0", t.TempDir())
	nc, _ := connect(t, srv.URL())
	sub, err := nc.SubscribeSync("answers")
	if err != nil {
		t.Fatal(err)
	}
	o := newOutbox(nc, zap.NewNop())
	ctx, cancel := context.WithCancel(t.Context())
	o.put(outgoing{subject: "answers", body: []byte("before")})
	cancel()
	if err := o.run(ctx); err != nil {
		t.Fatal(err)
	}
	o.put(outgoing{subject: "answers", body: []byte("after")})
	for _, want := range []string{"before", "after"} {
		if m, err := sub.NextMsg(10 * time.Second); err != nil || string(m.Data) != want {
			t.Errorf("got %v, %v, want %q", m, err, want)
		}
	}
}
