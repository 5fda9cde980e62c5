package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// schema is the version of the file's layout. A later version keeps the place and the seal of this number, so that an
// older program can tell.
const schema = 1

// maxSteps is how many steps are kept.
const maxSteps = 1000

// Store is the open state file. Its methods may be called from any goroutine; they run one after the other, and those
// that write return when the disk has it.
type Store struct {
	opts     Options
	path     string
	file     *os.File
	readOnly bool

	// mu is held over every transaction. bbolt has a lock of its own, but a panic inside a damaged file can leave it
	// locked, and whoever waits for it would wait for ever.
	mu     sync.Mutex
	db     *bolt.DB
	broken bool

	// As of the last commit; written under mu.
	events  atomic.Int64
	bytes   atomic.Int64
	dropped atomic.Uint64

	unmapped atomic.Bool
}

// safely runs f under the lock and turns a panic or a memory fault in it, which only a damaged file can cause, into
// [ErrDamaged]. After that the store is not touched again.
func (s *Store) safely(what string, f func() error) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return fmt.Errorf("%s state: %w", what, ErrDamaged)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			s.broken = true
			err = fmt.Errorf("%s state: %w: %v", what, ErrDamaged, r)
		}
	}()
	if err := f(); err != nil {
		if errors.Is(err, bolterrors.ErrInvalidMapping) {
			s.unmapped.Store(true)
		}
		return fmt.Errorf("%s state: %w", what, err)
	}
	return nil
}

// Close lets go of the file. It may be called more than once.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken || s.db == nil {
		// bbolt's own Close could wait for a lock that the panic left behind. The mapping stays until the process ends
		// and would keep the file locked.
		if err := unix.Flock(int(s.file.Fd()), unix.LOCK_UN); err != nil && !errors.Is(err, unix.EBADF) {
			return fmt.Errorf("close state: unlock: %w", err)
		}
		if err := s.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			return fmt.Errorf("close state: %w", err)
		}
		return nil
	}
	s.broken = true
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close state: %w", err)
	}
	return nil
}

// ReadOnly tells that the file system was mounted read-only when the file was opened: all can be read, and every write
// fails with EROFS, until the file is closed and opened again.
func (s *Store) ReadOnly() bool { return s.readOnly }

// Stale tells why the file must be closed and opened again although it need not be damaged; nil: it need not. It was
// removed, or another one is in its place, so that what is written to it would be lost with the process; or the kernel
// refused to map it when it grew, after which bbolt can do no more with it.
func (s *Store) Stale() error {
	if s.unmapped.Load() {
		return fmt.Errorf("the state file %s cannot be mapped into memory", s.path)
	}
	opened, err := s.file.Stat()
	if err != nil {
		return nil // closed, or a disk that tells nothing
	}
	now, err := os.Lstat(s.path)
	if errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(opened, now) {
		return fmt.Errorf("the state file %s was removed or replaced", s.path)
	}
	return nil
}

// Len is the number of events in the outbox. Like Dropped it never waits for the disk.
func (s *Store) Len() int { return int(s.events.Load()) }

// Dropped is the number of events that a full outbox has cost since the file was created.
func (s *Store) Dropped() uint64 { return s.dropped.Load() }

// buckets are the names of all buckets.
type buckets struct {
	meta, positions, tracker, agent, steps, stepIDs, outbox, outboxIDs, expendable []byte
}

func names() buckets {
	return buckets{
		meta: []byte("meta"), positions: []byte("positions"), tracker: []byte("tracker"), agent: []byte("agent"),
		steps: []byte("steps"), stepIDs: []byte("stepids"),
		outbox: []byte("outbox"), outboxIDs: []byte("outboxids"), expendable: []byte("expendable"),
	}
}

func (b buckets) all() [][]byte {
	return [][]byte{b.meta, b.positions, b.tracker, b.agent, b.steps, b.stepIDs, b.outbox, b.outboxIDs, b.expendable}
}

// prepare creates the buckets of a fresh file, or checks all of an old one.
func (s *Store) prepare(fresh bool) error {
	if fresh {
		return s.safely("create", func() error { return s.db.Update(create) })
	}
	var found tally
	err := s.safely("check", func() error {
		return s.db.View(func(t *bolt.Tx) (err error) {
			if err = checkSchema(t); err != nil {
				return err
			}
			found, err = checkContent(t, s.opts.Progress)
			return err
		})
	})
	if err != nil {
		return err
	}
	s.keep(found)
	return nil
}

func create(t *bolt.Tx) error {
	b := names()
	for _, name := range b.all() {
		if _, err := t.CreateBucket(name); err != nil {
			return err
		}
	}
	if err := put(t.Bucket(b.meta), b.meta, keptKey(), kept{}.bytes()); err != nil {
		return err
	}
	return put(t.Bucket(b.meta), b.meta, []byte("schema"), []byte(strconv.Itoa(schema)))
}

func checkSchema(t *bolt.Tx) error {
	b := names()
	m := t.Bucket(b.meta)
	if m == nil {
		return fmt.Errorf("%w: not a state file of ctwarden", ErrDamaged)
	}
	return checkVersion(m.Get([]byte("schema")))
}

// checkVersion tells whether this program understands a file with that sealed schema number.
func checkVersion(sealed []byte) error {
	v, err := unseal(names().meta, []byte("schema"), sealed)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(string(v))
	if err != nil || n < 1 {
		return fmt.Errorf("%w: schema %q", ErrDamaged, v)
	}
	if n > schema {
		return fmt.Errorf("%w (schema %d, this program knows up to %d); install that version again or move the file away",
			ErrNewerSchema, n, schema)
	}
	return nil
}

// tally is what the outbox holds.
type tally struct {
	events  int64
	bytes   int64
	dropped uint64
}

func (s *Store) keep(t tally) {
	s.events.Store(t.events)
	s.bytes.Store(t.bytes)
	s.dropped.Store(t.dropped)
}

// checkContent opens every seal and holds the indexes against what they index.
func checkContent(t *bolt.Tx, p *Progress) (tally, error) {
	b := names()
	for _, name := range b.all() {
		bucket := t.Bucket(name)
		if bucket == nil {
			return tally{}, fmt.Errorf("%w: no bucket %s", ErrDamaged, name)
		}
		if err := bucket.ForEach(func(k, v []byte) error {
			p.alive()
			_, err := unseal(name, k, v)
			return err
		}); err != nil {
			return tally{}, err
		}
	}
	if _, err := snapshotOf(t); err != nil {
		return tally{}, err
	}
	if err := checkSteps(t); err != nil {
		return tally{}, err
	}
	found, err := checkOutbox(t)
	if err != nil {
		return tally{}, err
	}
	found.dropped, err = readDropped(t)
	return found, err
}

func checkSteps(t *bolt.Tx) error {
	b := names()
	return indexed(t, b.steps, b.stepIDs, func(v []byte) (string, error) {
		var r record
		err := json.Unmarshal(v, &r)
		return r.ID, err
	})
}

// indexed checks that ids maps the id of every value of values to its key, and nothing else.
func indexed(t *bolt.Tx, values, ids []byte, id func(v []byte) (string, error)) error {
	n, index := 0, t.Bucket(ids)
	err := t.Bucket(values).ForEach(func(k, v []byte) error {
		v, err := unseal(values, k, v)
		if err != nil {
			return err
		}
		name, err := id(v)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDamaged, values, err)
		}
		at, err := unseal(ids, []byte(name), index.Get([]byte(name)))
		if err != nil || !bytes.Equal(at, k) || len(k) != 8 {
			return fmt.Errorf("%w: %s does not list %q", ErrDamaged, ids, name)
		}
		n++
		return nil
	})
	if err != nil {
		return err
	}
	if got := count(index); got != n {
		return fmt.Errorf("%w: %s lists %d of %d", ErrDamaged, ids, got, n)
	}
	return nil
}

func count(b *bolt.Bucket) int {
	n, c := 0, b.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		n++
	}
	return n
}

// put seals a value into a bucket; an empty value deletes the key.
func put(b *bolt.Bucket, name, key, value []byte) error {
	if len(value) == 0 {
		return b.Delete(key)
	}
	return b.Put(key, seal(name, key, value))
}
