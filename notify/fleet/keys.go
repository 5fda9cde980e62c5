package fleet

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/klauspost/compress/s2"
)

// The keys of what is saved. Others in the same place are passed over.
const (
	keyShard   = "shard."
	keyGroup   = "group."
	keySilence = "silence."
)

const (
	// packFrom is from how many bytes on a value is packed, packed begins one that is: no JSON begins so.
	packFrom = 1024
	packed   = 0xff
	// mostUnpacked bounds what a value may unpack to.
	mostUnpacked = 64 << 20
)

var shardKeys = func() (keys [shards]string) {
	for n := range keys {
		keys[n] = keyShard + hex2(n)
	}
	return keys
}()

func groupKey(id string) string { return keyGroup + id }

// ledger knows what has changed since it was saved. A key that changes between its encoding and the word that it was saved
// stays dirty.
type ledger struct {
	now              uint64
	changed, encoded map[string]uint64
}

func newLedger() ledger { return ledger{changed: map[string]uint64{}, encoded: map[string]uint64{}} }

func (l *ledger) mark(key string) {
	l.now++
	l.changed[key] = l.now
}

// Dirty are the keys that are to be saved, in the order in which they are to be: shards, then silences, then groups. See
// the package's comment for what the order is good for.
func (f *Fleet) Dirty() []string {
	rank := func(key string) int {
		switch {
		case strings.HasPrefix(key, keyShard):
			return 0
		case strings.HasPrefix(key, keySilence):
			return 1
		}
		return 2
	}
	return slices.SortedFunc(maps.Keys(f.ledger.changed), func(a, b string) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(a, b))
	})
}

// Saved tells that keys were saved as they were last encoded.
func (f *Fleet) Saved(keys []string) {
	l := &f.ledger
	for _, key := range keys {
		if at := l.encoded[key]; at != 0 && at >= l.changed[key] {
			delete(l.changed, key)
		}
		delete(l.encoded, key)
	}
}

// Encode is the value of a key as it is to be saved; nil: the key is to be deleted. The error says that a key is none of
// ours, or that its value cannot be encoded.
func (f *Fleet) Encode(key string) ([]byte, error) {
	f.ledger.encoded[key] = max(f.ledger.changed[key], 1)
	kind, rest, _ := strings.Cut(key, ".")
	switch kind + "." {
	case keyShard:
		n := slices.Index(shardKeys[:], key)
		if n < 0 {
			break
		}
		return f.encodeShard(uint8(n)), nil
	case keyGroup:
		g := f.groups[rest]
		if g == nil {
			return nil, nil
		}
		b, err := json.Marshal(f.groupRow(g))
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", key, err)
		}
		return f.pack(b), nil
	case keySilence:
		s := f.silences[rest]
		if s == nil {
			return nil, nil
		}
		b, err := json.Marshal(s)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", key, err)
		}
		return b, nil
	}
	return nil, fmt.Errorf("encode %s: the key is none of the fleet's", key)
}

// Load takes one saved key, in any order; an empty value: it was deleted. Keys that are none of the fleet's are passed
// over. It serves the start of a leader as well as a read model that is never saved. The error says that a value is damaged;
// what was known under the key before stays then.
func (f *Fleet) Load(key string, value []byte) error {
	kind, rest, _ := strings.Cut(key, ".")
	var err error
	switch kind + "." {
	case keyShard:
		n := slices.Index(shardKeys[:], key)
		if n < 0 {
			return nil
		}
		err = f.loadShard(uint8(n), value)
	case keyGroup:
		err = f.loadGroup(rest, value)
	case keySilence:
		err = f.loadSilence(rest, value)
	default:
		return nil
	}
	if err != nil {
		return fmt.Errorf("load %s: %w", key, err)
	}
	f.unsettled = true
	return nil
}

// pack makes a long value short. The result shares no memory with what it is made of.
func (f *Fleet) pack(b []byte) []byte {
	if len(b) < packFrom {
		return bytes.Clone(b)
	}
	if need := s2.MaxEncodedLen(len(b)); cap(f.packing) < need {
		f.packing = make([]byte, need)
	}
	return append([]byte{packed}, s2.Encode(f.packing[:cap(f.packing)], b)...)
}

func unpack(b []byte) ([]byte, error) {
	if len(b) == 0 || b[0] != packed {
		return b, nil
	}
	n, err := s2.DecodedLen(b[1:])
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	if n > mostUnpacked {
		return nil, errors.New("unpack: the value is too large")
	}
	out, err := s2.Decode(nil, b[1:])
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	return out, nil
}
