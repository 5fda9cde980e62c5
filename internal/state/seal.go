package state

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

const sealSize = 4

// seal puts a checksum over bucket, key and value before the value, so that a value that was damaged or stands in the
// wrong place is noticed.
func seal(bucket, key, value []byte) []byte {
	out := make([]byte, sealSize, sealSize+len(value))
	binary.BigEndian.PutUint32(out, checksum(bucket, key, value))
	return append(out, value...)
}

// unseal gives the value back. The result shares memory with sealed.
func unseal(bucket, key, sealed []byte) ([]byte, error) {
	if len(sealed) < sealSize {
		return nil, fmt.Errorf("%w: %s %q: a value of %d bytes", ErrDamaged, bucket, key, len(sealed))
	}
	value := sealed[sealSize:]
	if binary.BigEndian.Uint32(sealed) != checksum(bucket, key, value) {
		return nil, fmt.Errorf("%w: %s %q: wrong checksum", ErrDamaged, bucket, key)
	}
	return value, nil
}

func checksum(bucket, key, value []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, bucket)
	sum = crc32.Update(sum, table, key)
	return crc32.Update(sum, table, value)
}

// seqKey writes a sequence number such that keys sort by it.
func seqKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

// eventHead is what is stored of an event before its body. The two are apart so that the body's bytes are never
// touched.
type eventHead struct {
	ID      string              `json:"id"`
	Type    remediate.EventType `json:"type"`
	Subject string              `json:"subject"`
	Time    time.Time           `json:"time"`
}

func encodeEvent(ev notify.Outgoing) ([]byte, error) {
	head, err := json.Marshal(eventHead{ID: ev.ID, Type: ev.Type, Subject: ev.Subject, Time: ev.Time})
	if err != nil {
		return nil, fmt.Errorf("store event %s: %w", ev.ID, err)
	}
	out := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(head)+len(ev.Body)), uint32(len(head)))
	return append(append(out, head...), ev.Body...), nil
}

// decodeEvent copies everything, since value is memory of the file's that is gone after the transaction.
func decodeEvent(seq uint64, value []byte) (notify.Outgoing, error) {
	if len(value) < 4 || uint64(binary.BigEndian.Uint32(value)) > uint64(len(value)-4) {
		return notify.Outgoing{}, fmt.Errorf("%w: event %d has no head", ErrDamaged, seq)
	}
	n := 4 + int(binary.BigEndian.Uint32(value))
	var head eventHead
	if err := json.Unmarshal(value[4:n], &head); err != nil {
		return notify.Outgoing{}, errors.Join(fmt.Errorf("%w: event %d", ErrDamaged, seq), err)
	}
	return notify.Outgoing{
		Seq: seq, ID: head.ID, Type: head.Type, Subject: head.Subject, Time: head.Time,
		Body: append([]byte(nil), value[n:]...),
	}, nil
}

// record is how a step is stored.
type record struct {
	ID   string `json:"id"`
	JSON []byte `json:"json"`
}
