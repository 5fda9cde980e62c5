package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// storeAck is how long the acknowledgement of a write may take.
	storeAck = 3 * time.Second
	// writerHeader is on everything that hubs write to the bucket, with the hub's name. What a server writes by itself, such as
	// an acknowledgement, has none.
	writerHeader = "Ctwarden-Hub"
	// electionRest is the wait between two attempts while the stream has no leader.
	electionRest = 100 * time.Millisecond
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
// the whole bucket, not just of its key. So whoever takes the lease shuts out the leader before, also from keys that nobody
// else has touched. One write is under way at a time: with several, a later one could by chance name the number that the
// new leader's writes have come to.
type store struct {
	js jetstream.JetStream
	// prefix precedes a key in the subject of a message, name is this hub's.
	prefix, name string

	mu sync.Mutex // held over a write
	// last is the sequence number that the next write expects.
	last uint64
	// broken is why nothing can be written any more; nil: nothing has failed.
	broken error

	// alive is when the last write that was acknowledged was sent, by the monotonic clock. Until a certain time after it
	// nobody else leads.
	alive atomic.Pointer[time.Time]
}

// newStore begins behind the message with the sequence number last.
func newStore(js jetstream.JetStream, prefix, name string, last uint64) *store {
	return &store{js: js, prefix: prefix, name: cmp.Or(name, "hub"), last: last}
}

// put makes one write. Where it fails, or its outcome is not known, the store is of no use any more.
func (s *store) put(ctx context.Context, e entry) error {
	m := &nats.Msg{Subject: s.prefix + e.key, Data: e.value, Header: nats.Header{writerHeader: {s.name}}}
	if e.value == nil {
		m.Header.Set(opHeader, opDelete)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	ctx, cancel := context.WithTimeout(ctx, storeAck)
	defer cancel()
	at := time.Now()
	ack, err := s.publish(ctx, m)
	for errors.Is(err, jetstream.ErrNoStreamResponse) && ctx.Err() == nil {
		// The stream has no leader at the moment, so nothing was stored, and whoever leads next may store it: an election must
		// not cost the hub its own lead.
		pause(ctx, electionRest)
		at = time.Now()
		ack, err = s.publish(ctx, m)
	}
	if err != nil {
		if isOvertaken(err) {
			err = errOvertaken
		}
		s.broken = fmt.Errorf("save %s: %w", e.key, err)
		return s.broken
	}
	s.last = ack.Sequence
	s.alive.Store(&at)
	return nil
}

// until is when this hub must no longer act as the leader, unless another write is acknowledged.
func (s *store) until() time.Time {
	if at := s.alive.Load(); at != nil {
		return at.Add(leaseSafe)
	}
	return time.Time{}
}

func (s *store) publish(ctx context.Context, m *nats.Msg) (*jetstream.PubAck, error) {
	return s.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequence(s.last), jetstream.WithExpectStream("KV_"+FleetBucket),
		jetstream.WithRetryAttempts(0))
}

// left is how long this hub may act as the leader yet, unless another write is acknowledged. The monotonic clock stands still
// while a machine sleeps, and the other may be set; the one that says less counts.
func (s *store) left() time.Duration {
	at := s.alive.Load()
	if at == nil {
		return 0
	}
	now := time.Now()
	return leaseSafe - max(now.Sub(*at), now.Round(0).Sub(at.Round(0)))
}

// write saves the entries in their order: each is there only where all before it are.
func (s *store) write(ctx context.Context, entries []entry) error {
	for _, e := range entries {
		if err := s.put(ctx, e); err != nil {
			return err
		}
	}
	return nil
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
	// ours is false for what no hub wrote: it has no key, or no hub's name.
	ours bool
}

// readSaved takes a message of the bucket apart.
func readSaved(prefix string, m jetstream.Msg) (saved, error) {
	meta, err := m.Metadata()
	if err != nil {
		return saved{}, fmt.Errorf("read the bucket %s: %w", FleetBucket, err)
	}
	key, ok := strings.CutPrefix(m.Subject(), prefix)
	if !ok {
		key = ""
	}
	e := saved{entry: entry{key: key, value: m.Data()}, seq: meta.Sequence.Stream, at: meta.Timestamp, pending: meta.NumPending}
	e.ours = key != "" && m.Headers().Get(writerHeader) != ""
	if op := m.Headers().Get(opHeader); op != "" {
		e.value = nil
	} else if e.value == nil {
		e.value = []byte{}
	}
	return e, nil
}
