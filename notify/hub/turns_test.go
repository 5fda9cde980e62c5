package hub

import (
	"fmt"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/fleet"
)

// TestPageHasItsTurns: while much is folded and put together to be saved, whoever reads what the loop shares has a turn now
// and then.
func TestPageHasItsTurns(t *testing.T) {
	const hosts = 8192
	h := &Hub{hosts: newHosts(), o: Options{Log: quiet(t)}}
	l := h.newLeading(&picture{fleet: fleet.New(fleet.Config{GroupBy: []string{fleet.GroupBySite}}), deleted: map[string]time.Time{}}, nil)
	h.fleet, h.control = l.fleet, l.control
	var b Batch
	for n := range hosts {
		ev, err := notify.Decode(began(fmt.Sprint("site", n%20), fmt.Sprint("host", n), 1).Body)
		if err != nil {
			t.Fatal(err)
		}
		b.Events = append(b.Events, Delivery{Received: ev})
	}
	if seen := meanwhile(h, func() int { return int(h.tally.events) }, func() { l.fold(b) }); seen < 4 {
		t.Errorf("while events are folded a reader sees %d states of that", seen)
	}
	var entries []entry
	seen := meanwhile(h, func() int { return len(l.fleet.Dirty()) }, func() {
		var err error
		if entries, _, err = l.snapshot(time.Now()); err != nil {
			t.Error(err)
		}
	})
	if seen < 4 || len(entries) < 256 {
		t.Errorf("while %d keys are put together a reader sees %d states of that", len(entries), seen)
	}
	if keys := l.fleet.Dirty(); len(keys) > 0 {
		t.Errorf("%q are to be saved again", keys)
	}
}

// meanwhile is how many different states of some work a reader sees while it is done: the one before, the one after, and one
// for each turn between.
func meanwhile(h *Hub, state func() int, work func()) int {
	done, all := make(chan struct{}), make(chan int) // the one result of the reader
	go func() {
		seen := map[int]bool{}
		for {
			h.mu.Lock()
			seen[state()] = true
			h.mu.Unlock()
			select {
			case <-done:
				all <- len(seen)
				return
			default:
			}
		}
	}()
	work()
	close(done)
	return <-all
}
