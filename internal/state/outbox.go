package state

import (
	"bytes"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// peekBytes bounds what one Peek reads, in bytes of documents.
const peekBytes = 4 << 20

// Peek returns up to limit waiting events behind the sequence number after, oldest first; fewer where they are large.
// It removes nothing.
func (s *Store) Peek(after uint64, limit int) ([]notify.Outgoing, error) {
	var events []notify.Outgoing
	err := s.safely("read", func() error {
		events = nil
		return s.db.View(func(t *bolt.Tx) error {
			name, size := names().outbox, 0
			c := t.Bucket(name).Cursor()
			for k, v := c.Seek(seqKey(after + 1)); k != nil && len(events) < limit && size < peekBytes; k, v = c.Next() {
				v, err := unseal(name, k, v)
				if err != nil {
					return err
				}
				ev, err := decodeEvent(binary.BigEndian.Uint64(k), v)
				if err != nil {
					return err
				}
				events, size = append(events, ev), size+len(ev.Body)
			}
			return nil
		})
	})
	return events, err
}

// Ack removes events that were acknowledged, in one transaction. A number that is not there (any more) is passed over.
func (s *Store) Ack(seqs []uint64) error {
	if len(seqs) == 0 {
		return nil
	}
	return s.write(func(q *outbox) error {
		for _, seq := range seqs {
			if _, err := q.remove(seqKey(seq)); err != nil {
				return err
			}
		}
		return nil
	})
}

// outbox is the queue within one transaction.
type outbox struct {
	tx    *bolt.Tx
	names buckets
	tally tally
	opts  Options
	gone  []string // the IDs of what was dropped
}

// append adds events in order, and makes room for them.
func (q *outbox) append(events []notify.Outgoing) (Committed, error) {
	var done Committed
	q.gone = nil
	for _, ev := range events {
		if q.tx.Bucket(q.names.outboxIDs).Get([]byte(ev.ID)) != nil {
			done.Duplicates++
			continue
		}
		ok, err := q.room(ev)
		if err != nil {
			return Committed{}, err
		}
		if !ok {
			q.drop(ev.ID)
			continue
		}
		if err := q.add(ev); err != nil {
			return Committed{}, fmt.Errorf("event %s: %w", ev.ID, err)
		}
		done.Added++
	}
	done.Dropped = q.gone
	return done, nil
}

// drop counts an event that there is no room for.
func (q *outbox) drop(id string) {
	q.tally.dropped++
	q.gone = append(q.gone, id)
}

// removeIDs removes events by their IDs.
func (q *outbox) removeIDs(ids []string) error {
	for _, id := range ids {
		at := q.tx.Bucket(q.names.outboxIDs).Get([]byte(id))
		if at == nil {
			continue
		}
		key, err := unseal(q.names.outboxIDs, []byte(id), at)
		if err != nil {
			return err
		}
		if _, err := q.remove(bytes.Clone(key)); err != nil {
			return err
		}
	}
	return nil
}

// room drops expendable events until ev fits, and tells whether it does.
func (q *outbox) room(ev notify.Outgoing) (bool, error) {
	for q.full(ev) {
		k, _ := q.tx.Bucket(q.names.expendable).Cursor().First()
		if k == nil {
			_, may := Rank(ev.Type)
			return !may && !q.overBytes(ev), nil
		}
		// An update in the hand is worth less than what is listed behind all updates.
		if r, may := Rank(ev.Type); may && k[0] > r {
			return false, nil
		}
		id, err := q.remove(bytes.Clone(k[1:]))
		if err != nil {
			return false, err
		}
		if id == "" {
			return false, fmt.Errorf("%w: expendable lists an event that is not there", ErrDamaged)
		}
		q.drop(id)
	}
	return true, nil
}

func (q *outbox) full(ev notify.Outgoing) bool {
	return q.tally.events >= int64(q.opts.MaxEvents) || q.overBytes(ev)
}

func (q *outbox) overBytes(ev notify.Outgoing) bool {
	return q.tally.bytes+int64(len(ev.Body)) > q.opts.MaxBytes
}

// Rank tells whether an event may be dropped where there is no room, and its class among those that may: a lower one
// goes first.
func Rank(t remediate.EventType) (class byte, may bool) {
	switch t {
	case remediate.EventIncidentUpdated:
		return 0, true
	case remediate.EventMatchUnverified, remediate.EventSourceDegraded, remediate.EventSourceRecovered,
		remediate.EventLimitChanged, remediate.EventAgentStarted, remediate.EventAgentStopped:
		return 1, true
	}
	return 0, false
}

// expendableKey places an event in the order of dropping.
func expendableKey(class byte, seq []byte) []byte { return append([]byte{class}, seq...) }

func (q *outbox) add(ev notify.Outgoing) error {
	box := q.tx.Bucket(q.names.outbox)
	// Events are added at the end and removed from the front: full pages, not half-empty ones.
	box.FillPercent = 0.95
	seq, err := box.NextSequence()
	if err != nil {
		return err
	}
	v, err := encodeEvent(ev)
	if err != nil {
		return err
	}
	key := seqKey(seq)
	if err := put(box, q.names.outbox, key, v); err != nil {
		return err
	}
	if err := put(q.tx.Bucket(q.names.outboxIDs), q.names.outboxIDs, []byte(ev.ID), key); err != nil {
		return err
	}
	if class, may := Rank(ev.Type); may {
		k := expendableKey(class, key)
		if err := put(q.tx.Bucket(q.names.expendable), q.names.expendable, k, []byte{1}); err != nil {
			return err
		}
	}
	q.tally.events++
	q.tally.bytes += int64(len(ev.Body))
	return nil
}

// remove takes an event out and returns its ID; empty: it was not there.
func (q *outbox) remove(key []byte) (id string, err error) {
	box := q.tx.Bucket(q.names.outbox)
	sealed := box.Get(key)
	if sealed == nil {
		return "", nil
	}
	v, err := unseal(q.names.outbox, key, sealed)
	if err != nil {
		return "", err
	}
	ev, err := decodeEvent(binary.BigEndian.Uint64(key), v)
	if err != nil {
		return "", err
	}
	if err := q.tx.Bucket(q.names.outboxIDs).Delete([]byte(ev.ID)); err != nil {
		return "", err
	}
	if class, may := Rank(ev.Type); may {
		if err := q.tx.Bucket(q.names.expendable).Delete(expendableKey(class, key)); err != nil {
			return "", err
		}
	}
	q.tally.events--
	q.tally.bytes -= int64(len(ev.Body))
	return ev.ID, box.Delete(key)
}

// checkOutbox reads every event and holds both indexes against them.
func checkOutbox(t *bolt.Tx) (tally, error) {
	b := names()
	var found tally
	listed := 0
	err := indexed(t, b.outbox, b.outboxIDs, func(v []byte) (string, error) {
		ev, err := decodeEvent(0, v)
		found.events++
		found.bytes += int64(len(ev.Body))
		if _, may := Rank(ev.Type); may {
			listed++
		}
		return ev.ID, err
	})
	if err != nil {
		return tally{}, err
	}
	if got := count(t.Bucket(b.expendable)); got != listed {
		return tally{}, fmt.Errorf("%w: expendable lists %d of %d events", ErrDamaged, got, listed)
	}
	return found, nil
}

func readDropped(t *bolt.Tx) (uint64, error) {
	name := names().meta
	sealed := t.Bucket(name).Get([]byte("dropped"))
	if sealed == nil {
		return 0, nil
	}
	v, err := unseal(name, []byte("dropped"), sealed)
	if err != nil || len(v) != 8 {
		return 0, fmt.Errorf("%w: number of dropped events: %w", ErrDamaged, err)
	}
	return binary.BigEndian.Uint64(v), nil
}
