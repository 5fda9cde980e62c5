package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Opening is a state file that is locked, and of which all but the outbox is read and known to be sound. That is a few
// pages, where the outbox can be hundreds of megabytes. [Opening.Finish] must follow.
type Opening struct {
	// Snapshot is what the file holds besides the outbox.
	Snapshot Snapshot
	// Sound is false where there was no file, or one that is damaged: then Snapshot is empty.
	Sound bool

	path  string
	opts  Options
	store *Store
	fresh bool
	// problem is what is wrong with the content; nil: nothing so far.
	problem error
}

// Begin opens and locks the file as [Open] does, and reads the small part of it. It does not look at the outbox.
//
// Errors: [ErrLocked], [ErrNewerSchema], or what the operating system said.
func Begin(path string, opts Options) (*Opening, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	return begin(path, opts.withDefaults())
}

func begin(path string, opts Options) (*Opening, error) {
	s, fresh, err := openLocked(path, opts)
	if err != nil {
		return nil, fmt.Errorf("open state %s: %w", path, err)
	}
	o := &Opening{path: path, opts: opts, store: s, fresh: fresh, Snapshot: emptySnapshot()}
	if fresh {
		return o, nil
	}
	o.Snapshot, err = s.readSmall()
	if errors.Is(err, ErrNewerSchema) {
		return nil, errors.Join(fmt.Errorf("open state %s: %w", path, err), s.Close())
	}
	o.problem, o.Sound = err, err == nil
	return o, nil
}

// readSmall reads what the small buckets hold. The kernel is told that no pages are wanted but those asked for.
func (s *Store) readSmall() (Snapshot, error) {
	_ = unix.Fadvise(int(s.file.Fd()), 0, 0, unix.FADV_RANDOM) // at worst it reads more
	defer func() { _ = unix.Fadvise(int(s.file.Fd()), 0, 0, unix.FADV_NORMAL) }()
	found := small{}
	if _, err := checkFile(s.file, s.opts.Progress, &found); err != nil {
		return emptySnapshot(), fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	snap, err := found.snapshot()
	if err != nil {
		return emptySnapshot(), err
	}
	return snap, nil
}

func emptySnapshot() Snapshot {
	return Snapshot{Positions: map[string][]byte{}, Meta: map[string][]byte{}}
}

// Finish reads and checks the whole file and gives the store. A damaged file is set aside and a fresh one begun, as by
// [Open]; then it is the caller's to write again what Snapshot has.
func (o *Opening) Finish() (*Store, Opened, error) {
	defer o.opts.Progress.end()
	s, found, problem, err := o.finish()
	if err != nil || problem == nil {
		return s, found, err
	}
	o, err = begin(o.path, o.opts)
	var again error
	if err == nil {
		s, _, again, err = o.finish()
	}
	switch {
	case err != nil:
		return nil, Opened{}, fmt.Errorf("%w (the file before was damaged, and is set aside as %s: %w)", err, found.SetAside, problem)
	case again == nil:
		return s, Opened{Fresh: true, SetAside: found.SetAside, Problem: problem.Error()}, nil
	}
	return nil, Opened{}, fmt.Errorf("open state %s: %w, and the fresh file is no better", o.path, problem)
}

// finish opens the file. One whose content is at fault is set aside while its lock is still held, and what is wrong with
// it is returned as problem.
func (o *Opening) finish() (s *Store, found Opened, problem, err error) {
	note := ""
	if err = o.problem; err == nil {
		note, err = o.store.start(o.fresh)
	}
	if err == nil {
		return o.store, Opened{Fresh: o.fresh, Problem: note}, nil, nil
	}
	defer o.store.Close()
	if o.fresh && isSystem(err) {
		_ = os.Remove(o.path) // an empty file would pass for a damaged one next time
	}
	if !errors.Is(err, ErrDamaged) {
		return nil, Opened{}, nil, fmt.Errorf("open state %s: %w", o.path, err)
	}
	problem = err
	if found.SetAside, err = setAside(o.path, o.opts.Now()); err != nil {
		return nil, Opened{}, nil, fmt.Errorf("open state %s: %w; it could not be set aside: %w", o.path, problem, err)
	}
	return nil, found, problem, nil
}
