package state

import (
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// kept is a tally of all pairs in the small buckets, which is saved with them. Each pair has a seal of its own, but no
// seal tells of a pair that is missing: a page whose number of elements was damaged is a sound page with fewer, and one
// that the disk never wrote is the sound page of before.
type kept struct {
	pairs uint32
	// seals is the exclusive or of all seals.
	seals uint32
}

// keptKey is where the bucket meta has it.
func keptKey() []byte { return []byte("kept") }

func (k *kept) add(sealed []byte) error {
	k.pairs++
	return k.mix(sealed)
}

func (k *kept) remove(sealed []byte) error {
	k.pairs--
	return k.mix(sealed)
}

func (k *kept) mix(sealed []byte) error {
	if len(sealed) < sealSize {
		return fmt.Errorf("%w: a value of %d bytes", ErrDamaged, len(sealed))
	}
	k.seals ^= binary.BigEndian.Uint32(sealed)
	return nil
}

func (k kept) bytes() []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, k.pairs), k.seals)
}

// readKept reads the sealed tally.
func readKept(sealed []byte) (kept, error) {
	v, err := unseal(names().meta, keptKey(), sealed)
	if err == nil && len(v) != 8 {
		err = fmt.Errorf("%w: %d bytes", ErrDamaged, len(v))
	}
	if err != nil {
		return kept{}, fmt.Errorf("tally of what is kept: %w", err)
	}
	return kept{binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:])}, nil
}

// putKept writes a pair into a small bucket, or deletes it where the value is empty, and counts it.
func putKept(t *bolt.Tx, bucket, key, value []byte) error {
	b, meta := t.Bucket(bucket), t.Bucket(names().meta)
	k, err := readKept(meta.Get(keptKey()))
	if err != nil {
		return err
	}
	if old := b.Get(key); old != nil {
		if err := k.remove(old); err != nil {
			return err
		}
	}
	if len(value) == 0 {
		err = b.Delete(key)
	} else {
		sealed := seal(bucket, key, value)
		if err := k.add(sealed); err != nil {
			return err
		}
		err = b.Put(key, sealed)
	}
	if err != nil {
		return err
	}
	return put(meta, names().meta, keptKey(), k.bytes())
}
