package state

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestPromiseFileStaysBounded fills the outbox beyond its bound and drains it, again and again: the file grows with the
// first filling and not with those after it.
func TestPromiseFileStaysBounded(t *testing.T) {
	const body = 1500 // of a usual incident
	most, rounds := testhost.Amount(5000, DefaultMaxEvents), testhost.Amount(5, 5)
	path := filepath.Join(t.TempDir(), "s")
	s := open(t, path, Options{MaxEvents: most})
	var sizes []int64
	id := 0
	for range rounds {
		for range most * 3 / 2 / 500 {
			var c Change
			for range 500 {
				id++
				ev := event(fmt.Sprint("event-", id), remediate.EventIncidentUpdated)
				ev.Body = append(make([]byte, body), ev.Body...)
				c.Events = append(c.Events, ev)
			}
			commit(t, s, c)
		}
		if s.Len() != most {
			t.Errorf("%d events, want %d", s.Len(), most)
		}
		drain(t, s)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, info.Size())
	}
	first, last := sizes[0], sizes[rounds-1]
	// Pages are not full, and a commit writes its pages anew before it frees the old ones.
	if bound := int64(most) * body * 4; last > bound || last > first+first/2 {
		t.Errorf("the file has %d bytes after the first round and %d after the last (bound %d): %v", first, last, bound, sizes)
	}
	if s.Dropped() != uint64(id-rounds*most) {
		t.Errorf("%d dropped, want %d", s.Dropped(), id-rounds*most)
	}
	testhost.Held(t, "5.7 size of the state file", "outbox of %d events of %d bytes filled and drained %d times: %d KiB after the first, %d KiB after the last",
		most, body, rounds, first>>10, last>>10)
}

// drain acknowledges all events.
func drain(t *testing.T, s *Store) {
	t.Helper()
	for s.Len() > 0 {
		list, err := s.Peek(0, 256)
		if err != nil {
			t.Fatal(err)
		}
		seqs := make([]uint64, len(list))
		for i, ev := range list {
			seqs[i] = ev.Seq
		}
		if err := s.Ack(seqs); err != nil {
			t.Fatal(err)
		}
	}
}

// A change removes what was acknowledged by its ID, and books what was dropped before it came to the disk.
func TestAckedAndDroppedInAChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := open(t, path, Options{})
	commit(t, s, Change{Events: []notify.Outgoing{event("a", remediate.EventIncidentUpdated), event("b", remediate.EventIncidentOpened)}})
	commit(t, s, Change{Acked: []string{"a", "nobody's"}, Events: []notify.Outgoing{event("c", remediate.EventStepApplied)}, Dropped: 3})
	commit(t, s, Change{Dropped: 2})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, Options{})
	if got := ids(t, s); len(got) != 2 || got[0] != "b" || got[1] != "c" || s.Dropped() != 5 {
		t.Errorf("%v, %d dropped", got, s.Dropped())
	}
}

func TestStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := open(t, path, Options{})
	if err := s.Stale(); err != nil {
		t.Error(err)
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if s.Stale() == nil {
		t.Error("moved away, and not stale")
	}
	open(t, path, Options{})
	if s.Stale() == nil {
		t.Error("another one is in its place, and it is not stale")
	}
}
