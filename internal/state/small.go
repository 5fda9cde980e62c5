package state

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// small collects what the buckets besides the outbox hold, straight from the pages. Its methods accept nil, which
// collects nothing and leaves nothing out.
type small struct {
	// buckets has the pairs of each bucket found, in the order of their keys.
	buckets map[string][]pair
	// in is the bucket that is being walked; empty: none.
	in string
}

// pair is a key with its sealed value.
type pair struct{ key, value []byte }

// enter is called where a bucket begins, and tells whether to walk it.
func (s *small) enter(name []byte) bool {
	if s == nil {
		return true
	}
	b := names()
	if s.in != "" { // a bucket in a bucket is none of ours: as a value it fails its seal
		s.take(name, nil)
		return false
	}
	for _, wanted := range [][]byte{b.meta, b.positions, b.tracker, b.agent, b.steps} {
		if !bytes.Equal(name, wanted) {
			continue
		}
		if s.buckets == nil {
			s.buckets = map[string][]pair{}
		}
		s.in = string(name)
		s.buckets[s.in] = nil
		return true
	}
	return false
}

// leave is called where it ends.
func (s *small) leave() {
	if s != nil {
		s.in = ""
	}
}

func (s *small) take(key, value []byte) {
	if s != nil && s.in != "" {
		s.buckets[s.in] = append(s.buckets[s.in], pair{bytes.Clone(key), bytes.Clone(value)})
	}
}

// forEach hands the pairs of a bucket over, as bbolt does.
func (s *small) forEach(name []byte, take func(k, v []byte) error) error {
	pairs, ok := s.buckets[string(name)]
	if !ok {
		return fmt.Errorf("%w: no bucket %s", ErrDamaged, name)
	}
	for _, p := range pairs {
		if err := take(p.key, p.value); err != nil {
			return err
		}
	}
	return nil
}

// snapshot opens every seal. The schema comes first: what a newer version wrote need not look like ours.
func (s *small) snapshot() (Snapshot, error) {
	b := names()
	meta, ok := s.buckets[string(b.meta)]
	if !ok {
		return Snapshot{}, fmt.Errorf("%w: not a state file of ctwarden", ErrDamaged)
	}
	var version []byte
	for _, p := range meta {
		if string(p.key) == "schema" {
			version = p.value
		}
	}
	if err := checkVersion(version); err != nil {
		return Snapshot{}, err
	}
	return readSnapshot(s.forEach)
}

// readSnapshot reads everything but the outbox, and holds it against the tally. Each gives the pairs of a bucket.
func readSnapshot(each func(bucket []byte, take func(k, v []byte) error) error) (snap Snapshot, err error) {
	b := names()
	var found, want kept
	opened := func(name []byte, take func(k, v []byte) error) error {
		return each(name, func(k, sealed []byte) error {
			v, err := unseal(name, k, sealed)
			if err != nil {
				return err
			}
			if err := found.add(sealed); err != nil {
				return err
			}
			return take(k, v)
		})
	}
	all := func(name []byte) (map[string][]byte, error) {
		pairs := map[string][]byte{}
		err := opened(name, func(k, v []byte) error {
			pairs[string(k)] = bytes.Clone(v)
			return nil
		})
		return pairs, err
	}
	if snap.Positions, err = all(b.positions); err != nil {
		return Snapshot{}, err
	}
	if snap.Meta, err = all(b.agent); err != nil {
		return Snapshot{}, err
	}
	tracker, err := all(b.tracker)
	if err != nil {
		return Snapshot{}, err
	}
	snap.Tracker = tracker["snapshot"]
	err = opened(b.steps, func(_, v []byte) error {
		var r record
		if err := json.Unmarshal(v, &r); err != nil {
			return fmt.Errorf("%w: step: %w", ErrDamaged, err)
		}
		snap.Steps = append(snap.Steps, Record(r))
		return nil
	})
	if err != nil {
		return Snapshot{}, err
	}
	err = each(b.meta, func(k, sealed []byte) (err error) {
		if bytes.Equal(k, keptKey()) {
			want, err = readKept(sealed)
		}
		return err
	})
	if err != nil {
		return Snapshot{}, err
	}
	if found != want {
		return Snapshot{}, fmt.Errorf("%w: %d values are there whose seals add up to %08x, and %d were saved, with %08x",
			ErrDamaged, found.pairs, found.seals, want.pairs, want.seals)
	}
	return snap, nil
}
