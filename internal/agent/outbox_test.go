package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// lab is a recorder with its queue and its file, without an agent.
type lab struct {
	*recorder
	path string
}

func newLab(t *testing.T) lab {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.db")
	d := newDisk(path, state.Options{})
	r := newRecorder(d, newOutbox(d), zap.NewNop())
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	})
	return lab{r, path}
}

func outgoing(id string, typ remediate.EventType) notify.Outgoing {
	return notify.Outgoing{ID: id, Type: typ, Subject: "ctwarden.v1.ev.s.h." + string(typ), Body: []byte(`{"id":"` + id + `"}`)}
}

func events(from, to int) (list []notify.Outgoing) {
	for i := from; i < to; i++ {
		list = append(list, outgoing(fmt.Sprint(i), remediate.EventStepApplied))
	}
	return list
}

// sent takes all events that may be sent now, acknowledges them and returns their IDs.
func (l lab) sent(t *testing.T) (ids []string) {
	t.Helper()
	after := uint64(0)
	for {
		list, err := l.queue.Peek(after, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return ids
		}
		var seqs []uint64
		for _, ev := range list {
			ids, seqs = append(ids, ev.ID), append(seqs, ev.Seq)
		}
		if err := l.queue.Ack(seqs); err != nil {
			t.Fatal(err)
		}
		after = seqs[len(seqs)-1]
	}
}

func wantIDs(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// left lists the IDs of the events that the file holds, after a new opening.
func (l lab) left(t *testing.T) (ids []string) {
	t.Helper()
	if err := l.disk.close(); err != nil {
		t.Fatal(err)
	}
	s, found, err := state.Open(l.path, state.Options{})
	if err != nil || found.SetAside != "" {
		t.Fatalf("%+v, %v", found, err)
	}
	defer s.Close()
	list, err := s.Peek(0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range list {
		ids = append(ids, ev.ID)
	}
	return ids
}

func TestEventsAreOnDiskBeforeTheyAreSent(t *testing.T) {
	l := newLab(t)
	l.add(state.Change{Events: events(0, 5)}, nil)
	wantIDs(t, "before the commit", l.sent(t))
	l.work(context.Background())
	wantIDs(t, "after it", l.sent(t), "0", "1", "2", "3", "4")
	wantIDs(t, "again", l.sent(t))
	if n := l.queue.count(); n != (books{}) {
		t.Errorf("%+v, want nothing left", n)
	}
	wantIDs(t, "on disk, where the acknowledgements are not committed yet", l.left(t), "0", "1", "2", "3", "4")
	l.work(context.Background())
	wantIDs(t, "on disk", l.left(t))
}

// The disk stops answering in the middle of a commit, and answers again once all is sent.
func TestSentFromMemoryWhileTheDiskHangs(t *testing.T) {
	l := newLab(t)
	l.add(state.Change{Events: events(0, 2)}, nil)
	l.work(context.Background())
	l.disk.turn <- struct{}{} // as a call does that does not return
	l.add(state.Change{Events: events(2, 4), Tracker: []byte("{}")}, nil)
	if l.work(context.Background()) {
		t.Fatal("committed on a disk that hangs")
	}
	if problem, since := l.health(); problem != errDiskSlow.Error() || since.IsZero() {
		t.Errorf("problem %q since %v", problem, since)
	}
	if n := l.queue.count(); n != (books{Events: 4, Unsaved: 2}) {
		t.Errorf("%+v", n)
	}
	wantIDs(t, "from memory, what is on the disk too", l.sent(t), "0", "1", "2", "3")
	l.add(state.Change{Events: events(4, 6)}, nil)
	list, err := l.queue.Peek(0, 10)
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	<-l.disk.turn
	if !l.work(context.Background()) {
		t.Fatal("not committed")
	}
	// The two were on their way when the disk came back.
	if err := l.queue.Ack([]uint64{list[0].Seq, list[1].Seq}); err != nil {
		t.Fatal(err)
	}
	wantIDs(t, "from the disk", l.sent(t))
	l.work(context.Background())
	wantIDs(t, "on disk", l.left(t))
}

func TestBoundOfWhatIsUnsaved(t *testing.T) {
	const updated, degraded, opened = remediate.EventIncidentUpdated, remediate.EventSourceDegraded, remediate.EventIncidentOpened
	l := newLab(t)
	fill := func(typ remediate.EventType, from, to int) {
		for i := from; i < to; i++ {
			l.queue.add([]notify.Outgoing{outgoing(fmt.Sprint(typ, i), typ)})
		}
	}
	have := func(typ remediate.EventType) (n int, first string) {
		for _, w := range l.queue.list {
			if w.Type == typ {
				if n++; n == 1 {
					first = w.ID
				}
			}
		}
		return n, first
	}
	want := func(what string, typ remediate.EventType, n int, first string) {
		t.Helper()
		if got, id := have(typ); got != n || id != first {
			t.Errorf("%s: %d %s from %q, want %d from %q", what, got, typ, id, n, first)
		}
	}
	fill(degraded, 0, 10)
	fill(opened, 0, 100)
	fill(updated, 0, unsavedEvents-110)
	fill(opened, 100, 105)
	want("five more opened", updated, unsavedEvents-115, string(updated)+"5")
	fill(opened, 105, unsavedEvents-10)
	want("no update left", updated, 0, "")
	want("no update left", degraded, 10, string(degraded)+"0")
	fill(updated, 0, 1)
	want("an update is worth less than what is there", updated, 0, "")
	fill(opened, unsavedEvents-10, unsavedEvents+20)
	want("never dropped", opened, unsavedEvents+20, string(opened)+"0")
	want("gone for them", degraded, 0, "")
	if n := l.queue.count(); n.Dropped != unsavedEvents-110+10+1 || n.Unsaved != unsavedEvents+20 {
		t.Errorf("%+v", n)
	}
	big := outgoing("big", opened)
	big.Body = make([]byte, unsavedBytes)
	l.queue.add([]notify.Outgoing{big})
	if n := l.queue.count(); n.Dropped != unsavedEvents-110+10+2 || n.Unsaved != unsavedEvents+20 {
		t.Errorf("above the bound in bytes: %+v", n)
	}
	if !l.work(context.Background()) {
		t.Fatal("not committed")
	}
	dropped := l.queue.count().Dropped
	if err := l.disk.close(); err != nil {
		t.Fatal(err)
	}
	s, _, err := state.Open(l.path, state.Options{})
	if err != nil || s.Dropped() != dropped || s.Len() != unsavedEvents+20 {
		t.Errorf("on disk: %d dropped, %d events, want %d and %d; %v", s.Dropped(), s.Len(), dropped, unsavedEvents+20, err)
	}
	s.Close()
	if len(l.queue.list) > savedEvents {
		t.Errorf("%d events are kept in memory once they are on disk", len(l.queue.list))
	}
}
