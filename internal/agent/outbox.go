package agent

import (
	"errors"
	"slices"
	"sync"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/notify"
)

// The bounds of the events in memory.
const (
	// unsavedEvents and unsavedBytes bound those that the disk has not taken.
	unsavedEvents = 10_000
	unsavedBytes  = 16 << 20
	// savedEvents and savedBytes bound those that it has, and that are kept in case the file is found damaged.
	savedEvents = 1000
	savedBytes  = 2 << 20
	// commitEvents and commitBytes bound those in one commit, which costs memory several times their size.
	commitEvents = 1000
	commitBytes  = 2 << 20
)

// memorySeq is the first sequence number of an event that is sent from memory: behind all that are on disk.
const memorySeq = 1 << 62

// outbox is the queue of events as the publisher sees it. As long as the disk takes them, events are sent once they are
// on it. While it does not (full, read-only, frozen, gone), what is on it is sent if it can be read, and then what is in
// memory.
//
// An acknowledgement is kept in memory and goes to the disk with the next commit, seconds later at the latest, so that
// sending never waits for it.
type outbox struct {
	disk *disk
	// hurt is called where the file was found damaged while it was read, acknowledged where the disk has something to
	// forget. Neither waits.
	hurt, acknowledged func()

	mu      sync.Mutex
	list    []*waiting          // by sequence number
	byID    map[string]*waiting // of list
	unsaved size                // of list
	saved   size                // of list
	seq     uint64
	direct  bool              // the disk does not take events: send from memory
	handed  map[uint64]string // the IDs of the events that the publisher was given
	acked   map[string]bool   // acknowledged, and still on the disk; false: perhaps
	dropped uint64            // for want of room in memory or with a damaged file, and not booked on the disk yet
	// known is what the disk's own books said when it was last open.
	known struct {
		events  int
		dropped uint64
	}
}

// size is an amount of events.
type size struct{ events, bytes int }

func (s *size) add(n, bytes int) { s.events, s.bytes = s.events+n, s.bytes+bytes }

// place is where an event is.
type place int

const (
	inMemory place = iota
	onTheWay       // in a commit that has not returned
	onDisk
)

// waiting is an event that is not acknowledged, with its sequence number in memory.
type waiting struct {
	notify.Outgoing
	place place
	// tried: it was in a commit, which may have been one that the disk took and did not say so, or one to a file that is
	// back now.
	tried bool
}

func newOutbox(d *disk) *outbox {
	return &outbox{
		disk: d, hurt: func() {}, acknowledged: func() {}, seq: memorySeq, byID: map[string]*waiting{}, handed: map[uint64]string{},
		acked: map[string]bool{},
	}
}

// add takes new events. Where there is no room, those that matter least go first, as on the disk: see [state.Rank].
func (o *outbox) add(events []notify.Outgoing) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, ev := range events {
		if o.byID[ev.ID] != nil {
			continue
		}
		if !o.room(ev) {
			o.dropped++
			continue
		}
		o.seq++
		w := &waiting{Outgoing: ev}
		w.Seq = o.seq
		o.list = append(o.list, w)
		o.byID[ev.ID] = w
		o.unsaved.add(1, len(ev.Body))
	}
}

// room drops events until ev fits, and tells whether it does. What is in a commit cannot be dropped any more.
func (o *outbox) room(ev notify.Outgoing) bool {
	rank, may := state.Rank(ev.Type)
	for {
		overBytes := o.unsaved.bytes+len(ev.Body) > unsavedBytes
		if o.unsaved.events < unsavedEvents && !overBytes {
			return true
		}
		at, lowest := -1, byte(0)
		for i, w := range o.list {
			if class, may := state.Rank(w.Type); w.place == inMemory && may && (at < 0 || class < lowest) {
				if at, lowest = i, class; class == 0 {
					break
				}
			}
		}
		if at < 0 {
			return !may && !overBytes
		}
		if may && lowest > rank {
			return false
		}
		o.forget(at)
		o.dropped++
	}
}

// forget takes an event out of memory.
func (o *outbox) forget(at int) {
	w := o.list[at]
	o.list = slices.Delete(o.list, at, at+1)
	delete(o.byID, w.ID)
	if w.place == onDisk {
		o.saved.add(-1, -len(w.Body))
	} else {
		o.unsaved.add(-1, -len(w.Body))
	}
}

// Peek implements [notify.Queue].
func (o *outbox) Peek(after uint64, limit int) ([]notify.Outgoing, error) {
	o.mu.Lock()
	direct := o.direct
	if after == 0 {
		clear(o.handed)
	}
	o.mu.Unlock()
	readable := true
	for after < memorySeq {
		events, err := o.peekDisk(after, limit, direct)
		if err != nil && !direct {
			return nil, o.unread(err)
		}
		if readable = err == nil; err != nil || len(events) == 0 {
			break
		}
		after = events[len(events)-1].Seq
		if events = o.hand(events); len(events) > 0 {
			return events, nil
		}
	}
	if !direct {
		return nil, nil
	}
	return o.peekMemory(after, limit, readable), nil
}

// unread is what becomes of an error in reading the disk: the recorder sees to it, and wakes the publisher when it has.
func (o *outbox) unread(err error) error {
	switch {
	case errors.Is(err, state.ErrDamaged):
		o.hurt()
		return nil
	case errors.Is(err, errDiskSlow), errors.Is(err, errNotOpen):
		return nil
	}
	return err
}

// errNotOpen says that there is no state file at the moment.
var errNotOpen = errors.New("the state file is not open")

func (o *outbox) peekDisk(after uint64, limit int, direct bool) ([]notify.Outgoing, error) {
	var events []notify.Outgoing // read only where the call has returned
	wait := diskSlow
	if direct {
		wait = 0 // the call that hangs would be waited for each time
	}
	err := o.disk.within(wait, func() (err error) {
		s := o.disk.store.Load()
		if s == nil || o.disk.condemned != nil {
			return errNotOpen
		}
		if events, err = s.Peek(after, limit); errors.Is(err, state.ErrDamaged) {
			o.disk.condemn(err)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return events, nil
}

// hand notes which events the publisher gets, and leaves out those that it has sent.
func (o *outbox) hand(events []notify.Outgoing) []notify.Outgoing {
	o.mu.Lock()
	defer o.mu.Unlock()
	events = slices.DeleteFunc(events, func(ev notify.Outgoing) bool {
		_, sent := o.acked[ev.ID]
		return sent
	})
	for _, ev := range events {
		o.handed[ev.Seq] = ev.ID
	}
	return events
}

// peekMemory gives what the disk cannot give.
func (o *outbox) peekMemory(after uint64, limit int, readable bool) []notify.Outgoing {
	o.mu.Lock()
	defer o.mu.Unlock()
	var events []notify.Outgoing
	for _, w := range o.list {
		if len(events) == limit {
			break
		}
		if w.Seq > after && (w.place != onDisk || !readable) {
			events = append(events, w.Outgoing)
			o.handed[w.Seq] = w.ID
		}
	}
	return events
}

// Ack implements [notify.Queue]. It never waits.
func (o *outbox) Ack(seqs []uint64) error {
	if len(seqs) == 0 {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.acknowledged()
	gone := map[string]bool{}
	for _, seq := range seqs {
		id := o.handed[seq]
		if id == "" {
			continue
		}
		delete(o.handed, seq)
		w := o.byID[id]
		onDisk := w == nil || seq < memorySeq || w.place == onDisk
		// What only may be on the disk is forgotten beyond a bound: at worst it is sent again, under its id.
		if onDisk || w.tried && len(o.acked) < unsavedEvents {
			o.acked[id] = onDisk
		}
		gone[id] = true
	}
	o.leave(gone)
	return nil
}

// leave takes events out of memory by their IDs, as far as they are there.
func (o *outbox) leave(gone map[string]bool) {
	if len(gone) == 0 {
		return
	}
	o.list = slices.DeleteFunc(o.list, func(w *waiting) bool {
		if !gone[w.ID] {
			return false
		}
		delete(o.byID, w.ID)
		if w.place == onDisk {
			o.saved.add(-1, -len(w.Body))
		} else {
			o.unsaved.add(-1, -len(w.Body))
		}
		return true
	})
}
