package hub

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify"
)

// deafAfter is for how long the bucket of host states may go unheard until no host is called silent any more. A host sends its
// state every 75 seconds at the latest (internal/agent) and is silent after three minutes, so this is found out well before
// the first one looks silent, and a pause that is shorter makes none look so.
const deafAfter = 30 * time.Second

// hearing is whether this hub hears of hosts at all: one that cannot read their states would take all of them for silent. It
// is guarded by the hub's mutex.
type hearing struct {
	// upTo is the time up to which all is known to have been read that the bucket had, or when reading began.
	upTo time.Time
	// why is what kept the bucket from being read since then; nil: nothing that is known of.
	why error
	// told is true once it was logged that nothing is heard.
	told bool
}

func (h *hearing) deaf(now time.Time) bool { return now.Sub(h.upTo) > deafAfter }

// problem says that nothing is heard, and what to do; empty: it is.
func (h *hearing) problem(now time.Time) string {
	if !h.deaf(now) {
		return ""
	}
	why := "what it has does not come"
	if h.why != nil {
		why = h.why.Error()
	}
	return fmt.Sprintf("the states of hosts are not heard since %s, no host is called silent meanwhile: %s; "+
		"look at the bucket with: nats stream info KV_%s", h.upTo.UTC().Format("15:04:05 UTC"), why, notify.HostsBucket)
}

// listens tells whether this hub can hear of hosts. The caller holds mu.
func (h *Hub) listens(now time.Time) bool { return h.connected && !h.room.full && !h.hearing.deaf(now) }

// deaf says why this hub does not hear of hosts, and what to do; empty: it does. The caller holds mu.
func (h *Hub) deaf(now time.Time) string {
	if h.room.full {
		return h.room.problem
	}
	return h.hearing.problem(now)
}

// listening tells the fleet whether this hub can hear of hosts. The caller holds mu.
func (h *Hub) listening(now time.Time) {
	if h.leading != nil {
		h.leading.fleet.Connected(h.listens(now), now)
	}
}

// begins notes that reading begins now: it has deafAfter to come about.
func (h *Hub) begins() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hearing.upTo, h.hearing.why = time.Now(), nil
}

// hears notes up to when all was heard.
func (h *Hub) hears(upTo time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if upTo.After(h.hearing.upTo) {
		h.hearing.upTo, h.hearing.why = upTo, nil
	}
	h.tellHearing()
}

// unheard notes what keeps the bucket from being read.
func (h *Hub) unheard(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !errors.Is(err, jetstream.ErrMsgIteratorClosed) { // which this hub did itself, to begin anew
		h.hearing.why = err
	}
	h.tellHearing()
}

// tellHearing logs that nothing is heard any more, or again. The caller holds mu.
func (h *Hub) tellHearing() {
	now := time.Now()
	h.listening(now)
	deaf := h.connected && !h.room.full && h.hearing.deaf(now)
	if deaf == h.hearing.told {
		return
	}
	h.hearing.told = deaf
	if deaf {
		h.o.Log.Error("host_states_not_heard", zap.String("problem", h.hearing.problem(now)))
	} else {
		h.o.Log.Info("host_states_heard_again")
	}
}
