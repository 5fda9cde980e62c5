package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify/fleet"
)

// lookEvery is how often a hub that does not lead looks whether the lease is free.
const lookEvery = 200 * time.Millisecond

// stuckAfter is how long one look for a message may take, which is to take lookEvery.
const stuckAfter = 3 * time.Second

// picture is what the bucket of the fleet says, as read so far.
type picture struct {
	fleet   *fleet.Fleet
	control control
	lease   sighting
	// prefix precedes the keys in the subjects of the bucket's messages.
	prefix string
	// foreign are the keys under which something lies that no hub wrote.
	foreign map[string]bool
	// older counts values from before the bucket was closed to hosts: they lie beside the prefix, where nothing arrives any more.
	older int
	// last is the sequence number of the bucket's last message that was read.
	last uint64
	// refused is the last that a try for the lease was refused with, since something was written behind it; since is when that
	// was first so.
	refused uint64
	since   time.Time
	// complete is true once all was read that was there at the start.
	complete bool
	// deleted has the keys that were deleted, with the time of that.
	deleted map[string]time.Time
}

// standBy follows the bucket until this hub has taken the lease, and returns the picture to lead with: everything that was
// ever saved, since nobody can have written between the last message read and the lease. It returns nil when ctx is done.
func (h *Hub) standBy(ctx context.Context) (*leading, error) {
	p, err := h.begin(ctx)
	if err != nil {
		return nil, err
	}
	h.moved()
	msgs, err := follow(ctx, h.js, "KV_"+FleetBucket)
	if err != nil {
		return nil, err
	}
	defer msgs.Stop()
	stop := context.AfterFunc(ctx, msgs.Stop) // the library does not hear of ctx while it looks for the stream
	defer stop()
	looked := time.Now()
	// Where a server dies, the library looks for the stream for longer than another hub can be waited for: begun anew then.
	stuck := time.AfterFunc(stuckAfter, msgs.Stop)
	defer stuck.Stop()
	for {
		h.moved()
		stuck.Reset(stuckAfter)
		m, err := msgs.Next(jetstream.NextMaxWait(lookEvery))
		switch {
		case ctx.Err() != nil:
			return nil, nil
		case errors.Is(err, nats.ErrTimeout):
		case err != nil:
			return nil, fmt.Errorf("read the bucket %s: %w", FleetBucket, err)
		default:
			if err := h.read(p, m); err != nil {
				return nil, err
			}
		}
		if time.Since(looked) < lookEvery && err == nil {
			continue
		}
		looked = time.Now()
		if l, err := h.seize(ctx, p); l != nil || err != nil {
			return l, err
		}
	}
}

// begin makes an empty picture. One without a message is complete at once.
func (h *Hub) begin(ctx context.Context) (*picture, error) {
	ctx, cancel := context.WithTimeout(ctx, attach)
	defer cancel()
	s, err := h.js.Stream(ctx, "KV_"+FleetBucket)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, missing("bucket", FleetBucket, err)
	}
	if err != nil {
		return nil, unavailable("read the bucket "+FleetBucket, err)
	}
	prefix, err := prefixOf(s)
	if err != nil {
		return nil, err
	}
	state := s.CachedInfo().State
	p := &picture{
		fleet: fleet.New(h.settings().Fleet), last: state.LastSeq, deleted: map[string]time.Time{}, foreign: map[string]bool{},
		lease: sighting{moved: time.Now()}, prefix: prefix,
	}
	if state.Msgs == 0 {
		h.show(p)
	}
	return p, nil
}

// read takes one message of the bucket into the picture.
func (h *Hub) read(p *picture, m jetstream.Msg) error {
	s, err := readSaved(p.prefix, m)
	if err != nil {
		return err
	}
	h.mu.Lock()
	if s.ours {
		err = p.take(s, time.Now())
	} else {
		p.last = max(p.last, s.seq)
		h.passOver(p, s)
	}
	h.mu.Unlock()
	if err != nil {
		// A value that cannot be read is of a newer hub or damaged. To lead without it would overwrite it.
		return fmt.Errorf("read the bucket %s: key %s: %w", FleetBucket, s.key, err)
	}
	if s.pending == 0 && !p.complete {
		h.show(p)
	} else if p.complete && s.ours {
		h.changed(p, s.key)
	}
	return nil
}

func (p *picture) take(s saved, now time.Time) error {
	p.last = max(p.last, s.seq)
	p.lease.moved = now
	delete(p.deleted, s.key)
	delete(p.foreign, s.key)
	if s.value == nil {
		p.deleted[s.key] = s.at
	}
	switch s.key {
	case leaseKey:
		p.lease.lease = lease{}
		if s.value == nil {
			return nil
		}
		return json.Unmarshal(s.value, &p.lease.lease)
	case controlKey:
		p.control = control{}
		if s.value == nil {
			return nil
		}
		return json.Unmarshal(s.value, &p.control)
	}
	return p.fleet.Load(s.key, s.value)
}

// staleAfter is how long what was written behind the last message that was read may take to come.
const staleAfter = 2 * time.Second

// errStale says that the bucket has messages that do not come: the consumer is of no use, though nobody says so. Where a
// server died, the library may wait for it for ever.
var errStale = errors.New("what was written does not come; the bucket is read anew")

// stale tells whether a try was refused with the same last message for too long.
func (p *picture) stale(now time.Time) bool {
	if p.refused != p.last || p.since.IsZero() {
		p.refused, p.since = p.last, now
	}
	return now.Sub(p.since) >= staleAfter
}

// seize takes the lease where it is free. It returns nil where it is not, or another hub was faster; an error where the
// bucket has to be read anew.
func (h *Hub) seize(ctx context.Context, p *picture) (*leading, error) {
	if !p.complete || time.Now().Before(h.aside) || !p.lease.free(h.id, time.Now()) || !h.o.Conn.IsConnected() {
		return nil, nil
	}
	st := newStore(h.js, p.prefix, h.o.Name, p.last)
	l := h.newLeading(p, st)
	within, cancel := context.WithTimeout(ctx, storeAck)
	defer cancel()
	switch err := st.write(within, []entry{l.lease.entry(time.Now())}); {
	case errors.Is(err, errOvertaken) && p.stale(time.Now()):
		return nil, fmt.Errorf("%w: %w", errStale, errOvertaken)
	case errors.Is(err, errOvertaken):
		return nil, nil // what was written instead is about to be read
	case err != nil && ctx.Err() == nil:
		h.o.Log.Warn("lease_not_taken", zap.Error(err))
		return nil, nil
	case err != nil:
		return nil, nil
	}
	return l, nil
}
