package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// wantDropped commits what is left and wants so many dropped, in the books and in the file's.
func (l lab) wantDropped(t *testing.T, want uint64) {
	t.Helper()
	if !l.work(context.Background()) {
		t.Fatal("not committed")
	}
	if n := l.queue.count(); n.Dropped != want {
		t.Errorf("%+v, want %d dropped", n, want)
	}
	if n := l.disk.store.Load().Dropped(); n != want {
		t.Errorf("the file says %d dropped, want %d", n, want)
	}
}

// TestDroppedIsCountedOnce has a commit fail whose content is in the file nevertheless, as where the last sync of it
// fails, and one whose content is not.
func TestDroppedIsCountedOnce(t *testing.T) {
	for name, there := range map[string]bool{"in the file nevertheless": true, "not in the file": false} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.add(state.Change{Events: events(0, 1)}, nil)
			l.wantDropped(t, 0)
			l.queue.dropped = 3
			l.queue.add(events(1, 2))
			var c state.Change
			l.queue.take(&c)
			var done state.Committed
			if there {
				var err error
				if done, err = l.disk.store.Load().Commit(c); err != nil || done.Added != 1 {
					t.Fatal(done, err)
				}
			}
			l.queue.took(c, state.Committed{}, l.disk.store.Load(), errors.New("sync: input/output error"))
			if n := l.queue.count(); n.Dropped != 3 {
				t.Errorf("before the next commit: %+v, want 3 dropped", n)
			}
			l.wantDropped(t, 3)
		})
	}
}

// TestDroppedFromTheFileIsGone has a full file drop events, and be damaged then: what it had dropped is not written
// again, and not dropped and counted a second time.
func TestDroppedFromTheFileIsGone(t *testing.T) {
	l := newLab(t)
	l.disk.opts.MaxEvents = 5
	updates := func(from, to int) (list []notify.Outgoing) {
		for i := from; i < to; i++ {
			list = append(list, outgoing(fmt.Sprint(i), remediate.EventIncidentUpdated))
		}
		return list
	}
	l.add(state.Change{Events: updates(0, 4)}, nil)
	l.wantDropped(t, 0)
	l.add(state.Change{Events: updates(4, 12)}, nil) // which drops of those before and of its own
	l.wantDropped(t, 7)
	if n := l.queue.count(); n.Events != 5 || n.Unsaved != 0 || len(l.queue.list) != 5 || l.queue.saved.events != 5 {
		t.Errorf("%+v, %d in memory, %+v", n, len(l.queue.list), l.queue.saved)
	}
	if err := os.Truncate(l.path, 0); err != nil {
		t.Fatal(err)
	}
	l.add(state.Change{Events: []notify.Outgoing{outgoing("last", remediate.EventIncidentOpened)}}, nil)
	l.wantDropped(t, 8) // one update more, for the last
	wantIDs(t, "on disk", l.left(t), "8", "9", "10", "11", "last")
}
