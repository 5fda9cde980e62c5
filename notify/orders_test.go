package notify_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
)

// TestAcknowledgementsAreNoOrders has a host that was taken over have the server send it acknowledgements where orders to all
// hosts come in. None is carried out or answered, and they take no room from an order.
func TestAcknowledgementsAreNoOrders(t *testing.T) {
	b := newLab(t, nil)
	b.start()
	b.setup()
	orders := make(chan notify.Command, 1000)
	p, err := notify.NewPublisher(notify.PublisherOptions{
		Dial: notify.Dial{Servers: []string{b.url()}}, Identity: me, Queue: newStore(t), Log: zaptest.NewLogger(t),
		Order: func(_ context.Context, c notify.Command, broken error) notify.Answer {
			if broken != nil {
				t.Errorf("carried out: %v", broken)
			}
			orders <- c
			return notify.Answer{Done: true}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	start(t, p)
	nc, _ := b.connect()
	answers, err := nc.SubscribeSync(notify.AnswerPrefix + ".>")
	if err != nil {
		t.Fatal(err)
	}
	hub, err := notify.Command{ID: "c", Rev: 1, At: time.Now(), By: "ada", Verb: notify.CommandHold}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	tell := func() int {
		if err := nc.Publish(notify.CommandToHost(me.Site, me.Host), hub); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		return len(orders)
	}
	testhost.Eventually(t, "the agent hears orders", func() bool { return tell() > 0 })
	for i := range 500 {
		ev := numbered(t, i)
		if err := nc.PublishRequest(ev.Subject, notify.CommandToAll(), ev.Body); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	before := len(orders)
	tell()
	testhost.Eventually(t, "the order behind them is carried out", func() bool { return len(orders) > before })
	for {
		m, err := answers.NextMsg(200 * time.Millisecond)
		if err != nil {
			break
		}
		if a, err := notify.DecodeAnswer(m.Subject, m.Data); err != nil || a.ID != "c" {
			t.Errorf("answered: %s, %v", m.Data, err)
		}
	}
}
