package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/notify"
)

// Record is a step in the journal of steps.
type Record struct {
	ID string
	// JSON is a remediate.Step.
	JSON []byte
}

// Change is what one commit writes. All of it is optional.
type Change struct {
	// Positions maps a stream (remediate.Match.Key) to its position. An empty position forgets the stream.
	Positions map[string][]byte
	// Tracker is the tracker's snapshot; nil leaves the last one.
	Tracker []byte
	// Steps are added to the journal; one whose ID is there already replaces it, in its place.
	Steps []Record
	// Meta are small values of the agent's own. An empty value deletes.
	Meta map[string][]byte
	// Events go to the end of the outbox, in this order.
	Events []notify.Outgoing
	// Acked are the IDs of events that were acknowledged: they leave the outbox, before Events come in. One that is not
	// there is passed over.
	Acked []string
	// Dropped is how many events were dropped before they came here. They are added to [Store.Dropped].
	Dropped uint64
}

// Empty tells that there is nothing to write.
func (c Change) Empty() bool {
	return len(c.Positions) == 0 && c.Tracker == nil && len(c.Steps) == 0 && len(c.Meta) == 0 && len(c.Events) == 0 &&
		len(c.Acked) == 0 && c.Dropped == 0
}

// Committed tells what became of the events of a change.
type Committed struct {
	// Added events are in the outbox.
	Added int
	// Duplicates were in it already, by their ID.
	Duplicates int
	// Dropped are the IDs of the events that this commit cost, of the change or of those that waited. Store.Dropped adds
	// up how many.
	Dropped []string
}

// Snapshot is what a store holds apart from the outbox.
type Snapshot struct {
	Positions map[string][]byte
	// Tracker is nil where none was saved.
	Tracker []byte
	// Steps are the last 1000, oldest first.
	Steps []Record
	Meta  map[string][]byte
}

// Commit writes the change in one transaction and returns when it is on the disk. On an error nothing was written;
// but where the very last sync of it failed, its content can be there nevertheless, and Len and Dropped say so.
//
// When the outbox holds MaxEvents, room is made by dropping what matters least and is oldest: first incident.updated,
// then the other events that only inform (source.*, match.unverified, limit.changed, agent.*). An incident.opened, an
// incident.closed and a step.* are never dropped for that: they are kept even above MaxEvents, and only the bound in
// bytes (MaxBytes), which a disk needs, refuses a new one. Every drop is counted.
func (s *Store) Commit(c Change) (Committed, error) {
	if c.Empty() {
		return Committed{}, nil
	}
	var done Committed
	err := s.write(func(q *outbox) (err error) {
		if err := writeState(q.tx, c); err != nil {
			return err
		}
		if err := q.removeIDs(c.Acked); err != nil {
			return err
		}
		q.tally.dropped += c.Dropped
		done, err = q.append(c.Events)
		return err
	})
	if err != nil {
		return Committed{}, err
	}
	return done, nil
}

// write has do change the store in one transaction, and keeps what the outbox then holds.
func (s *Store) write(do func(q *outbox) error) error {
	return s.safely("write", func() error {
		if s.readOnly {
			return fmt.Errorf("%s: %w", s.path, unix.EROFS)
		}
		if err := s.sound(); err != nil {
			return err
		}
		now := tally{events: s.events.Load(), bytes: s.bytes.Load(), dropped: s.dropped.Load()}
		err := s.db.Update(func(t *bolt.Tx) error {
			q := outbox{tx: t, names: names(), tally: now, opts: s.opts}
			if err := do(&q); err != nil {
				return err
			}
			if q.tally.dropped != now.dropped {
				if err := put(t.Bucket(q.names.meta), q.names.meta, []byte("dropped"), seqKey(q.tally.dropped)); err != nil {
					return err
				}
			}
			now = q.tally
			return nil
		})
		if isSystem(err) {
			return errors.Join(err, s.recount())
		}
		if err == nil {
			s.keep(now)
		}
		return err
	})
}

// checkedWhole is up to what size the whole file is checked before each commit, in bytes: that costs a millisecond.
const checkedWhole = 1 << 20

// sound looks for damage that came to the open file before a commit goes over it. bbolt gives up every page that it
// replaces, with as many behind it as the page says, and a damaged number keeps it at that for hours, in ever more memory.
// Of a large file the one page alone is looked at that each commit replaces and nothing reads before: the list of the
// free ones.
func (s *Store) sound() error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	if size := info.Size(); size <= checkedWhole {
		_, err = checkPages(s.file, size, nil)
	} else {
		err = checkFreelist(s.file, size)
	}
	if err == nil || isSystem(err) {
		return nil // a disk that cannot be read fails the commit, or need not
	}
	s.broken = true
	return fmt.Errorf("%w: %v", ErrDamaged, err)
}

// recount finds out what the outbox holds after a transaction that the disk did not take: where the very last write of
// it failed, its content can be there nevertheless.
func (s *Store) recount() error {
	return s.db.View(func(t *bolt.Tx) error {
		found, err := checkOutbox(t)
		if err != nil {
			return err
		}
		if found.dropped, err = readDropped(t); err != nil {
			return err
		}
		s.keep(found)
		return nil
	})
}

func writeState(t *bolt.Tx, c Change) error {
	b := names()
	for k, v := range c.Positions {
		if err := putKept(t, b.positions, []byte(k), v); err != nil {
			return fmt.Errorf("position of %s: %w", k, err)
		}
	}
	for k, v := range c.Meta {
		if err := putKept(t, b.agent, []byte(k), v); err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
	}
	if c.Tracker != nil {
		if err := putKept(t, b.tracker, []byte("snapshot"), c.Tracker); err != nil {
			return fmt.Errorf("tracker: %w", err)
		}
	}
	for _, r := range c.Steps {
		if err := writeStep(t, r); err != nil {
			return fmt.Errorf("step %s: %w", r.ID, err)
		}
	}
	return nil
}

// writeStep adds or replaces a step and removes the oldest beyond maxSteps.
func writeStep(t *bolt.Tx, r Record) error {
	b := names()
	steps, ids := t.Bucket(b.steps), t.Bucket(b.stepIDs)
	v, err := json.Marshal(record(r))
	if err != nil {
		return err
	}
	if at := ids.Get([]byte(r.ID)); at != nil {
		key, err := unseal(b.stepIDs, []byte(r.ID), at)
		if err != nil {
			return err
		}
		return putKept(t, b.steps, bytes.Clone(key), v)
	}
	seq, err := steps.NextSequence()
	if err != nil {
		return err
	}
	if err := put(ids, b.stepIDs, []byte(r.ID), seqKey(seq)); err != nil {
		return err
	}
	if err := putKept(t, b.steps, seqKey(seq), v); err != nil {
		return err
	}
	if seq <= maxSteps {
		return nil
	}
	return removeStep(t, seqKey(seq-maxSteps))
}

func removeStep(t *bolt.Tx, key []byte) error {
	b := names()
	old := t.Bucket(b.steps).Get(key)
	if old == nil {
		return nil
	}
	v, err := unseal(b.steps, key, old)
	if err != nil {
		return err
	}
	var r record
	if err := json.Unmarshal(v, &r); err != nil {
		return err
	}
	if err := t.Bucket(b.stepIDs).Delete([]byte(r.ID)); err != nil {
		return err
	}
	return putKept(t, b.steps, key, nil)
}

// Load reads everything but the outbox.
func (s *Store) Load() (snap Snapshot, err error) {
	err = s.safely("read", func() error {
		return s.db.View(func(t *bolt.Tx) (err error) {
			snap, err = snapshotOf(t)
			return err
		})
	})
	if err != nil {
		return Snapshot{}, err
	}
	return snap, nil
}

func snapshotOf(t *bolt.Tx) (Snapshot, error) {
	return readSnapshot(func(name []byte, take func(k, v []byte) error) error { return t.Bucket(name).ForEach(take) })
}
