package state

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

func open(t testing.TB, path string, opts Options) *Store {
	t.Helper()
	s, _, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func event(id string, typ remediate.EventType) notify.Outgoing {
	return notify.Outgoing{
		ID: id, Type: typ, Subject: "ctwarden.v1.ev.s.h." + string(typ), Body: []byte(`{"id":"` + id + `", "x":"<&>"}`),
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
	}
}

func commit(t testing.TB, s *Store, c Change) Committed {
	t.Helper()
	done, err := s.Commit(c)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func ids(t testing.TB, s *Store) []string {
	t.Helper()
	events, err := s.Peek(0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(events))
	for i, ev := range events {
		names[i] = ev.ID
	}
	if len(names) != s.Len() {
		t.Errorf("Len is %d, the outbox holds %d", s.Len(), len(names))
	}
	return names
}

func TestCommitComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "state.db")
	s, found, err := Open(path, Options{})
	if err != nil || !found.Fresh || found.SetAside != "" || found.Problem != "" {
		t.Fatalf("got %+v, %v", found, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	ev := event("a", remediate.EventIncidentOpened)
	commit(t, s, Change{
		Positions: map[string][]byte{"kmsg": []byte(`{"seq":7}`), "journal": []byte("x"), "gone": []byte("y")},
		Tracker:   []byte(`{"incidents":[]}`),
		Steps:     []Record{{"s1", []byte(`{"to":1}`)}, {"s2", []byte(`{"to":2}`)}},
		Meta:      map[string][]byte{"boot": []byte("b")},
		Events:    []notify.Outgoing{ev},
	})
	commit(t, s, Change{Steps: []Record{{"s1", []byte(`{"to":3}`)}}, Positions: map[string][]byte{"gone": nil}})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	s, found, err = Open(path, Options{})
	if err != nil || found != (Opened{}) {
		t.Fatalf("got %+v, %v", found, err)
	}
	defer s.Close()
	got, err := s.Load()
	want := Snapshot{
		Positions: map[string][]byte{"kmsg": []byte(`{"seq":7}`), "journal": []byte("x")},
		Tracker:   []byte(`{"incidents":[]}`),
		Steps:     []Record{{"s1", []byte(`{"to":3}`)}, {"s2", []byte(`{"to":2}`)}},
		Meta:      map[string][]byte{"boot": []byte("b")},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	events, err := s.Peek(0, 10)
	ev.Seq = 1
	if err != nil || len(events) != 1 || !reflect.DeepEqual(events[0], ev) {
		t.Errorf("got %+v, %v, want %+v", events, err, ev)
	}
}

func TestOutboxQueue(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "s"), Options{})
	for i := range 5 {
		commit(t, s, Change{Events: []notify.Outgoing{event(fmt.Sprint("e", i), remediate.EventStepApplied)}})
	}
	again := commit(t, s, Change{Events: []notify.Outgoing{
		event("e1", remediate.EventStepApplied), event("e5", remediate.EventStepApplied), event("e5", remediate.EventStepApplied),
	}})
	if !reflect.DeepEqual(again, Committed{Added: 1, Duplicates: 2}) {
		t.Errorf("got %+v", again)
	}
	two, err := s.Peek(1, 2)
	if err != nil || len(two) != 2 || two[0].ID != "e1" || two[1].ID != "e2" || two[1].Seq != 3 {
		t.Errorf("got %+v, %v", two, err)
	}
	if err := s.Ack([]uint64{1, 3, 99}); err != nil {
		t.Fatal(err)
	}
	if err := s.Ack(nil); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, s); !slices.Equal(got, []string{"e1", "e3", "e4", "e5"}) {
		t.Errorf("got %v", got)
	}
	// Acknowledged and gone: the same ID may come again, with a new number.
	commit(t, s, Change{Events: []notify.Outgoing{event("e0", remediate.EventStepApplied)}})
	if last, err := s.Peek(6, 9); err != nil || len(last) != 1 || last[0].Seq != 7 {
		t.Errorf("got %+v, %v", last, err)
	}
}

func TestFullOutbox(t *testing.T) {
	const (
		up   = remediate.EventIncidentUpdated
		info = remediate.EventAgentStarted
		keep = remediate.EventIncidentOpened
	)
	for _, c := range []struct {
		name    string
		before  []remediate.EventType
		add     []remediate.EventType
		opts    Options
		want    string
		dropped int
	}{
		{"room", []remediate.EventType{up, info}, []remediate.EventType{keep}, Options{MaxEvents: 3}, "b0 b1 a0", 0},
		{"the oldest update goes", []remediate.EventType{keep, info, up, up}, []remediate.EventType{keep}, Options{MaxEvents: 4}, "b0 b1 b3 a0", 1},
		{"an update replaces an older one", []remediate.EventType{up, up}, []remediate.EventType{up}, Options{MaxEvents: 2}, "b1 a0", 1},
		{"then the rest", []remediate.EventType{info, up, info}, []remediate.EventType{keep, keep, info}, Options{MaxEvents: 3}, "a0 a1 a2", 3},
		{"an update is worth less than news", []remediate.EventType{info, info}, []remediate.EventType{up, info}, Options{MaxEvents: 2}, "b1 a1", 2},
		{"never an opened, a closed or a step", []remediate.EventType{keep, remediate.EventIncidentClosed, remediate.EventStepFailed},
			[]remediate.EventType{up, info, keep, remediate.EventStepReverted}, Options{MaxEvents: 3}, "b0 b1 b2 a2 a3", 2},
		{"but for the bytes", []remediate.EventType{keep, up, keep}, []remediate.EventType{keep, keep, up},
			Options{MaxEvents: 2, MaxBytes: 66}, "b0 b2 a0", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			s := open(t, path, Options{})
			add := func(name string, types []remediate.EventType) Committed {
				var ch Change
				for i, typ := range types {
					ev := event(fmt.Sprint(name, i), typ)
					ev.Body = []byte(strings.Repeat("x", 22))
					ch.Events = append(ch.Events, ev)
				}
				return commit(t, s, ch)
			}
			add("b", c.before)
			s.Close()
			s = open(t, path, c.opts)
			done := add("a", c.add)
			if got := strings.Join(ids(t, s), " "); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if len(done.Dropped) != c.dropped || s.Dropped() != uint64(c.dropped) {
				t.Errorf("dropped %q, in all %d, want %d", done.Dropped, s.Dropped(), c.dropped)
			}
			s.Close()
			s = open(t, path, c.opts)
			if s.Dropped() != uint64(c.dropped) {
				t.Errorf("after a restart: dropped %d", s.Dropped())
			}
			ids(t, s)
		})
	}
}

func TestStepsKept(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "s"), Options{})
	var all []Record
	for i := range maxSteps + 5 {
		all = append(all, Record{fmt.Sprint("s", i), []byte(fmt.Sprint(i))})
	}
	commit(t, s, Change{Steps: all})
	got, err := s.Load()
	if err != nil || !reflect.DeepEqual(got.Steps, all[5:]) {
		t.Errorf("%v: %d steps, first %+v", err, len(got.Steps), got.Steps[0])
	}
}

func TestSecondAgentIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	open(t, path, Options{})
	start := time.Now()
	_, _, err := Open(path, Options{})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("got %v", err)
	}
	if d := time.Since(start); d > 3*lockWait {
		t.Errorf("it took %v", d)
	}
}

func TestNewerSchemaIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := open(t, path, Options{})
	b := names()
	if err := s.safely("test", func() error {
		tx, err := s.db.Begin(true)
		if err != nil {
			return err
		}
		if err := put(tx.Bucket(b.meta), b.meta, []byte("schema"), []byte("2")); err != nil {
			return err
		}
		return tx.Commit()
	}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(path, Options{}); !errors.Is(err, ErrNewerSchema) {
		t.Errorf("got %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !slices.Equal(before, after) {
		t.Errorf("the file was changed (%v)", err)
	}
	// It can be tried again: nothing holds the lock.
	if _, _, err := Open(path, Options{}); !errors.Is(err, ErrNewerSchema) {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsNoFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	pipe, socket := filepath.Join(dir, "pipe"), filepath.Join(dir, "socket")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	paths := map[string]string{
		"a folder": dir, "a link": link, "below a file": filepath.Join(target, "s"), "a pipe": pipe, "a socket": socket,
		"a device": "/dev/null",
	}
	for name, path := range paths {
		if s, found, err := Open(path, Options{}); err == nil {
			s.Close()
			t.Errorf("%s: opened, %+v", name, found)
		}
	}
}

func TestEmptyChangeWritesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := open(t, path, Options{})
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, Change{})
	commit(t, s, Change{Positions: maps.Clone(map[string][]byte{})})
	if after, err := os.ReadFile(path); err != nil || !slices.Equal(before, after) {
		t.Errorf("the file was changed (%v)", err)
	}
}

func BenchmarkCommit(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "s"), Options{})
	for i := 0; b.Loop(); i++ {
		commit(b, s, Change{
			Positions: map[string][]byte{"kmsg": []byte(fmt.Sprintf(`{"seq":%d}`, i))},
			Tracker:   make([]byte, 2000),
			Events:    []notify.Outgoing{event(fmt.Sprint(i), remediate.EventIncidentUpdated)},
		})
	}
}

// BenchmarkSync is what the disk itself takes, for comparison: two syncs, as a commit needs.
func BenchmarkSync(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "s"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for b.Loop() {
		for range 2 {
			if _, err := f.WriteAt(make([]byte, 4096), 0); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
