package hub

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// storeAck is how long an acknowledgement of a write may take, which also bounds for how long a hub that lost its
	// connection takes itself for the leader.
	storeAck = 3 * time.Second
	// inFlight bounds what is written before its acknowledgements are waited for, in bytes and in messages.
	inFlight      = 8 << 20
	inFlightCount = 512
	// keyPrefix precedes a key in the subject of the bucket's messages.
	keyPrefix = "$KV." + FleetBucket + "."
	// opHeader and opDelete mark a deleted key, as the key-value library does.
	opHeader = "KV-Operation"
	opDelete = "DEL"
)

// errOvertaken says that somebody else has written to the bucket: another hub leads.
var errOvertaken = errors.New("another hub has written")

// entry is a key of the bucket with its value; nil: deleted.
type entry struct {
	key   string
	value []byte
}

// store writes to the bucket of the fleet, compared and set: each write names the sequence number of the last message of
// the whole bucket, not just of its key. So whoever takes the lease shuts out all that the leader before still has on its
// way, also to keys that nobody else has touched; and where one write of a row fails, none behind it succeeds, which keeps
// the order in which things are saved.
type store struct {
	js jetstream.JetStream

	mu sync.Mutex
	// last is the sequence number that the next write expects. It runs ahead of the acknowledgements.
	last uint64
	// broken is why nothing can be written any more; nil: nothing has failed.
	broken error
	// alive is when the last write that was acknowledged was sent. Until a certain time after it nobody else leads.
	alive time.Time
}

// sentWrite is a write on its way.
type sentWrite struct {
	key string
	at  time.Time
	ack jetstream.PubAckFuture
}

// newStore begins behind the message with the sequence number last.
func newStore(nc *nats.Conn, last uint64) (*store, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(storeAck), jetstream.WithPublishAsyncMaxPending(2*inFlightCount))
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return &store{js: js, last: last}, nil
}

// put sends one write. It is done when [settled] says so.
func (s *store) put(e entry) (sentWrite, error) {
	m := &nats.Msg{Subject: keyPrefix + e.key, Data: e.value, Header: nats.Header{}}
	if e.value == nil {
		m.Header.Set(opHeader, opDelete)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return sentWrite{}, s.broken
	}
	at := time.Now()
	f, err := s.js.PublishMsgAsync(m, jetstream.WithExpectLastSequence(s.last),
		jetstream.WithExpectStream("KV_"+FleetBucket), jetstream.WithRetryAttempts(0))
	if err != nil {
		s.broken = fmt.Errorf("save %s: %w", e.key, err)
		return sentWrite{}, s.broken
	}
	s.last++
	return sentWrite{e.key, at, f}, nil
}

// settled waits until a write is stored. Where it is not, the store is of no use any more: what was sent behind it is
// refused too.
func (s *store) settled(ctx context.Context, w sentWrite) error {
	var err error
	select {
	case <-w.ack.Ok():
		s.mu.Lock()
		defer s.mu.Unlock()
		s.alive = w.at
		return nil
	case err = <-w.ack.Err():
	case <-ctx.Done():
		err = ctx.Err()
	}
	if isOvertaken(err) {
		err = errOvertaken
	}
	err = fmt.Errorf("save %s: %w", w.key, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = err
	}
	return err
}

// until is when this hub must no longer act as the leader, unless another write is acknowledged.
func (s *store) until() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.alive.Add(leaseSafe)
}

// write saves the entries in their order: each is there only where all before it are.
func (s *store) write(ctx context.Context, entries []entry) error {
	for len(entries) > 0 {
		n := chunk(entries)
		waiting := make([]sentWrite, 0, n)
		for _, e := range entries[:n] {
			w, err := s.put(e)
			if err != nil {
				return err
			}
			waiting = append(waiting, w)
		}
		for _, w := range waiting {
			if err := s.settled(ctx, w); err != nil {
				return err
			}
		}
		entries = entries[n:]
	}
	return nil
}

// chunk is how many entries are sent at once: one at least.
func chunk(entries []entry) int {
	size := 0
	for i, e := range entries {
		size += len(e.value)
		if i > 0 && size > inFlight || i == inFlightCount {
			return i
		}
	}
	return len(entries)
}

// isOvertaken tells JetStream's refusal of a write that expected another sequence number.
func isOvertaken(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// saved is one message of the bucket.
type saved struct {
	entry
	seq uint64
	at  time.Time
	// pending is how many more there were behind it when the server sent it.
	pending uint64
}

// readSaved takes a message of the bucket apart.
func readSaved(m jetstream.Msg) (saved, error) {
	meta, err := m.Metadata()
	if err != nil {
		return saved{}, fmt.Errorf("read the bucket %s: %w", FleetBucket, err)
	}
	key, ok := strings.CutPrefix(m.Subject(), keyPrefix)
	if !ok {
		return saved{}, fmt.Errorf("read the bucket %s: a message of %s", FleetBucket, m.Subject())
	}
	e := saved{entry: entry{key: key, value: m.Data()}, seq: meta.Sequence.Stream, at: meta.Timestamp, pending: meta.NumPending}
	if op := m.Headers().Get(opHeader); op != "" {
		e.value = nil
	} else if e.value == nil {
		e.value = []byte{}
	}
	return e, nil
}
