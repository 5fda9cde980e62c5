package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/internal/state"
)

// TestAcknowledgedIsForgottenSoon has nothing happen after an acknowledgement: the disk hears of it all the same, or a
// start after the stream's deduplication would send the event anew.
func TestAcknowledgedIsForgottenSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		l.add(state.Change{Events: events(0, 2)}, nil)
		for l.queue.count().Unsaved > 0 {
			elapse(time.Millisecond)
		}
		wantIDs(t, "sent", l.sent(t), "0", "1")
		elapse(2 * ackWithin)
		if n := l.disk.store.Load().Len(); n != 0 {
			t.Errorf("%d acknowledged events are on the disk still", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestAcknowledgedIsBounded has a disk that refuses for long, while what it refuses is sent.
func TestAcknowledgedIsBounded(t *testing.T) {
	l := newLab(t)
	l.add(state.Change{Events: events(0, 1)}, nil)
	l.work(context.Background())
	l.queue.sendDirectly(true)
	for i := 1; i < 3*unsavedEvents; i += 1000 {
		l.queue.add(events(i, i+1000))
		var c state.Change
		l.queue.take(&c)
		l.queue.took(c, state.Committed{}, l.disk.store.Load(), errors.New("refused"))
		l.sent(t)
	}
	if n := len(l.queue.acked); n > unsavedEvents {
		t.Errorf("%d acknowledgements are kept in memory, want at most %d", n, unsavedEvents)
	}
}

// TestImageIsItsOwn changes a step of the image while what it gave is being committed.
func TestImageIsItsOwn(t *testing.T) {
	m := newImage()
	m.put(state.Change{Steps: []state.Record{{ID: "a", JSON: []byte("1")}}})
	c := m.change()
	m.put(state.Change{Steps: []state.Record{{ID: "a", JSON: []byte("2")}}})
	if string(c.Steps[0].JSON) != "1" || string(m.steps[0].JSON) != "2" {
		t.Errorf("the change has %s, the image %s", c.Steps[0].JSON, m.steps[0].JSON)
	}
}
