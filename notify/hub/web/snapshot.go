package web

import (
	"net/http"
	"sync"
	"time"
)

// snapshotAge is how old the kept columns of all hosts may be. A reader that gets older ones is told the rest by the first
// change.
const snapshotAge = 2 * time.Second

// snapshot keeps the columns of all hosts, packed, for the readers of the next moment: 100,000 hosts take a tenth of a
// second to encode.
type snapshot struct {
	mu       sync.Mutex
	revision uint64
	made     time.Time
	plain    []byte
	packed   []byte
}

// get is the columns as they are or were a moment ago.
func (s *snapshot) get(b *board) (plain, packed []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made.IsZero() || time.Since(s.made) > snapshotAge && s.revision != b.current() {
		s.plain, s.revision = b.columns(0)
		s.packed, s.made = pack(s.plain), time.Now()
	}
	return s.plain, s.packed
}

func (b *board) current() uint64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.revision
}

func (h *Handler) getFleet(w http.ResponseWriter, r *http.Request) {
	h.refresh()
	plain, packed := h.snapshot.get(h.board)
	w.Header().Set("Content-Type", columnsType)
	w.Header().Set("Cache-Control", "no-store")
	sendEither(w, r, plain, packed)
}
