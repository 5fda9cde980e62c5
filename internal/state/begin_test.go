package state

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestBeginReadsLittle: what a start goes on from is there after a few pages, and is what the whole file says.
func TestBeginReadsLittle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := open(t, path, Options{})
	change := Change{
		Positions: map[string][]byte{"kmsg": []byte("7"), "journal": []byte("8")}, Tracker: []byte("open"),
		Meta: map[string][]byte{"lost": []byte("9")},
	}
	for i := range 30 {
		change.Steps = append(change.Steps, Record{fmt.Sprint("step", i), []byte(`{"n":1}`)})
	}
	for i := range 3000 {
		ev := event(fmt.Sprint("e", i), remediate.EventStepApplied)
		ev.Body = make([]byte, 1500)
		change.Events = append(change.Events, ev)
	}
	commit(t, s, change)
	want, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	p := NewProgress()
	o, err := Begin(path, Options{Progress: p})
	if err != nil {
		t.Fatal(err)
	}
	read, size, _, busy := p.Of()
	if !o.Sound || !reflect.DeepEqual(o.Snapshot, want) || !busy || read > 100_000 || size < 4_000_000 {
		t.Errorf("sound %v after %d of %d bytes, busy %v: %+v\nwant %+v", o.Sound, read, size, busy, o.Snapshot, want)
	}
	if _, _, err := Open(path, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("opened in between by another: %v", err)
	}
	s, found, err := o.Finish()
	if err != nil || found != (Opened{}) || s.Len() != 3000 {
		t.Fatalf("%+v, %v", found, err)
	}
	t.Cleanup(func() { s.Close() })
	if read, _, _, busy := p.Of(); busy || read != 0 {
		t.Errorf("%d bytes, busy %v; want none when all is done", read, busy)
	}
}

// TestBeginWithoutFile has nothing to go on from.
func TestBeginWithoutFile(t *testing.T) {
	for name, content := range map[string][]byte{"no file": nil, "a damaged file": []byte("hello")} {
		path := filepath.Join(t.TempDir(), "s")
		if content != nil {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		o, err := Begin(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if o.Sound || len(o.Snapshot.Positions) > 0 {
			t.Errorf("%s: sound %v, %+v", name, o.Sound, o.Snapshot)
		}
		s, found, err := o.Finish()
		if err != nil || !found.Fresh || (found.SetAside != "") != (content != nil) {
			t.Errorf("%s: %+v, %v", name, found, err)
			continue
		}
		s.Close()
	}
}

// TestBeginIsNeverMisled damages files in random ways: what the first pages give is either what was saved or nothing, be
// it that the rest of the file is found damaged later; and what the whole check passes, they pass.
func TestBeginIsNeverMisled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	whole := filled(t, path, 60)
	s := open(t, path, Options{})
	want := read(t, s).snapshot
	s.Close()
	r := testhost.Rand(t)
	trials := testhost.Amount(3000, 100_000)
	sound, saved := 0, 0
	for i := range trials {
		bad := bytes.Clone(whole)
		from, to := r.IntN(len(bad)/4096)*4096, r.IntN(len(bad)/4096)*4096
		switch i % 3 {
		case 0:
			flip(bad, r.IntN(len(bad)), r)
		case 1: // in the header of a page or in its elements
			flip(bad, to+r.IntN(256), r)
		case 2: // a page in the place of another
			copy(bad[to:to+4096], bad[from:])
		}
		got := small{}
		note, err := checkPages(bytes.NewReader(bad), int64(len(bad)), &got)
		var snap Snapshot
		if err == nil {
			snap, err = got.snapshot()
		}
		_, all := checkPages(bytes.NewReader(bad), int64(len(bad)), nil)
		switch {
		case err == nil && note == "" && !reflect.DeepEqual(snap, want):
			t.Fatalf("trial %d: misled: %+v", i, snap)
		case err == nil && all != nil:
			saved++
		case err == nil:
			sound++
		case all == nil && !errors.Is(err, ErrDamaged):
			t.Fatalf("trial %d: the whole is sound in structure, the part not: %v", i, err)
		}
	}
	if sound == 0 || saved == 0 {
		t.Errorf("%d sound, %d damaged elsewhere; want some of each", sound, saved)
	}
	t.Logf("of %d: %d not hurt where it is in use, %d hurt elsewhere alone", trials, sound, saved)
}

// TestDamagedOutboxLeavesTheRest: what a file holds besides a damaged outbox comes before it is set aside.
func TestDamagedOutboxLeavesTheRest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := open(t, path, Options{})
	commit(t, s, Change{
		Positions: map[string][]byte{"kmsg": []byte("7")}, Tracker: []byte("open"),
		Steps:  []Record{{"a", []byte(`{}`)}},
		Events: []notify.Outgoing{event("precious", remediate.EventStepApplied)},
	})
	s.Close()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(content, []byte(`"x":"<&>"`))
	content[at] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := Begin(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !o.Sound || string(o.Snapshot.Positions["kmsg"]) != "7" || string(o.Snapshot.Tracker) != "open" || len(o.Snapshot.Steps) != 1 {
		t.Errorf("sound %v, %+v", o.Sound, o.Snapshot)
	}
	s, found, err := o.Finish()
	if err != nil || found.SetAside == "" || !found.Fresh || s.Len() != 0 {
		t.Fatalf("%+v, %v", found, err)
	}
	s.Close()
}
