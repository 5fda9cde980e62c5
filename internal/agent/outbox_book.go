package agent

import (
	"maps"
	"slices"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/notify"
)

// take puts into a change what the disk does not know yet, or as much of it as one commit should have. It returns false
// where more events are left.
func (o *outbox) take(c *state.Change) (all bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c.Acked, c.Dropped = slices.Sorted(maps.Keys(o.acked)), o.dropped
	o.dropped = 0
	bytes := 0
	for _, w := range o.list {
		if w.place != inMemory {
			continue
		}
		if len(c.Events) == commitEvents || bytes > commitBytes {
			return false
		}
		w.place, w.tried = onTheWay, true
		c.Events = append(c.Events, w.Outgoing)
		bytes += len(w.Body)
	}
	return true
}

// took books what became of a change: on the disk, or not. What the disk dropped for it is forgotten here too, or a file
// begun afresh would get it again, and count it again.
func (o *outbox) took(c state.Change, done state.Committed, s *state.Store, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	gone := make(map[string]bool, len(done.Dropped))
	for _, id := range done.Dropped {
		gone[id] = true
	}
	o.leave(gone)
	if err != nil {
		// A commit that failed in its last sync can be in the file all the same, and what it dropped in the file's books.
		if s.Dropped() == o.known.dropped {
			o.dropped += c.Dropped
		}
	} else {
		for _, id := range c.Acked {
			delete(o.acked, id)
		}
		for _, ev := range c.Events {
			if _, sent := o.acked[ev.ID]; sent { // meanwhile, from memory
				o.acked[ev.ID] = true
			}
		}
	}
	for _, w := range o.list {
		switch {
		case w.place != onTheWay:
		case err != nil:
			w.place = inMemory
		default:
			w.place = onDisk
			o.unsaved.add(-1, -len(w.Body))
			o.saved.add(1, len(w.Body))
		}
	}
	o.known.events, o.known.dropped = s.Len(), s.Dropped()
	o.thin()
}

// thin forgets the oldest events that are on the disk, beyond the bound.
func (o *outbox) thin() {
	o.list = slices.DeleteFunc(o.list, func(w *waiting) bool {
		if w.place != onDisk || o.saved.events <= savedEvents && o.saved.bytes <= savedBytes {
			return false
		}
		delete(o.byID, w.ID)
		o.saved.add(-1, -len(w.Body))
		return true
	})
}

// reopened books that the state file was opened again, and returns how many events were in the file before and nowhere
// else. They are counted as dropped where a fresh file was begun.
func (o *outbox) reopened(fresh bool) (kept, lost int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if fresh {
		lost = max(o.known.events-o.saved.events-o.ackedOnDisk(), 0)
		o.dropped += o.known.dropped + uint64(lost)
		o.known.events, o.known.dropped = 0, 0
		clear(o.acked)
	}
	for _, w := range o.list {
		if w.place == onDisk {
			w.place = inMemory
			o.saved.add(-1, -len(w.Body))
			o.unsaved.add(1, len(w.Body))
			kept++
		}
		w.tried = w.tried && !fresh
	}
	return kept, lost
}

// opened books what the file held at the start.
func (o *outbox) opened(s *state.Store) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.known.events, o.known.dropped = s.Len(), s.Dropped()
}

// sendDirectly has events sent from memory, or no more.
func (o *outbox) sendDirectly(yes bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.direct = yes
}

// books are what the outbox holds.
type books struct {
	Events  int    // not acknowledged, wherever they are
	Unsaved int    // of these, in memory alone
	Dropped uint64 // since the state file was begun
}

func (o *outbox) ackedOnDisk() (n int) {
	for _, sure := range o.acked {
		if sure {
			n++
		}
	}
	return n
}

// count never waits for the disk.
func (o *outbox) count() books {
	o.mu.Lock()
	defer o.mu.Unlock()
	return books{
		Events:  max(o.known.events-o.ackedOnDisk(), 0) + o.unsaved.events,
		Unsaved: o.unsaved.events, Dropped: o.known.dropped + o.dropped,
	}
}

var _ notify.Queue = (*outbox)(nil)
