package hub

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify"
)

// room is how full the bucket of host states is, as last asked. A full one takes no state, and its hosts would look as if
// they had fallen silent. It is guarded by the hub's mutex.
type room struct {
	full bool
	// problem says that it is nearly full, or full, and what to do; empty: it is neither.
	problem string
}

const (
	// nearly and full are the shares of the bucket's bytes from which it counts as that. The last states of a full one may
	// still be small enough to fit.
	nearlyFull = 0.8
	allFull    = 0.97
)

// roomFor judges the bucket's size.
func roomFor(bytes uint64, most int64) room {
	share := float64(bytes) / float64(most)
	if most <= 0 || share < nearlyFull {
		return room{}
	}
	const remedy = "give it more by ctwarden-hub init --server URL --host-bytes SIZE"
	if share < allFull {
		return room{problem: fmt.Sprintf("the bucket of host states is full to %.0f %% of %d bytes; %s", 100*share, most, remedy)}
	}
	return room{full: true, problem: fmt.Sprintf("the bucket of host states is full (%d bytes): states of hosts are lost, and no host is called silent meanwhile; %s",
		most, remedy)}
}

// askRoom looks how full the bucket of host states is.
func (h *Hub) askRoom(ctx context.Context) {
	read := h.watch.seq.Load()
	s, err := h.js.Stream(ctx, "KV_"+notify.HostsBucket)
	if err != nil {
		h.unheard(noBucket("KV_"+notify.HostsBucket, err))
		return
	}
	info := s.CachedInfo()
	last := info.State.LastSeq
	if last < read && h.watch.again() {
		h.o.Log.Warn("host_states_read_anew", zap.Error(errAnew))
	}
	if info.State.Msgs == 0 { // all have expired
		last = 0
	}
	if h.watch.look(last, time.Now()) {
		h.o.Log.Warn("host_states_read_anew", zap.Error(errStale))
	}
	now := roomFor(info.State.Bytes, info.Config.MaxBytes)
	h.hosts.listened(h.watch.heard(last, now.full, time.Now()))
	h.hears(h.watch.upTo)
	h.mu.Lock()
	defer h.mu.Unlock()
	news := now.full != h.room.full || (now.problem == "") != (h.room.problem == "")
	h.room = now
	if !news {
		return
	}
	h.listening(time.Now())
	if now.problem != "" {
		h.o.Log.Warn("host_bucket_full", zap.Bool("full", now.full), zap.String("problem", now.problem))
	} else {
		h.o.Log.Info("host_bucket_has_room")
	}
}
