package state

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// FuzzEvent: an event comes out of the outbox as it went in, byte for byte.
func FuzzEvent(f *testing.F) {
	f.Add("id", "step.applied", "ctwarden.v1.ev.s.h.step.applied", int64(1e18), []byte(`{"a":1}`))
	f.Add("", "", "", int64(-1), []byte("\x00\xff"))
	f.Fuzz(func(t *testing.T, id, typ, subject string, at int64, body []byte) {
		valid := func(s string) string { return string([]rune(s)) } // as JSON holds it
		in := notify.Outgoing{
			Seq: 7, ID: valid(id), Type: remediate.EventType(valid(typ)), Subject: valid(subject), Time: time.Unix(0, at).UTC(),
			Body: append([]byte(nil), body...),
		}
		data, err := encodeEvent(in)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := decodeEvent(7, data); err != nil || !reflect.DeepEqual(in, out) {
			t.Fatalf("%+v became %+v, %v", in, out, err)
		}
	})
}

// FuzzDecodeEvent: bytes that are no event are damage, and those that are one can be stored again.
func FuzzDecodeEvent(f *testing.F) {
	good, err := encodeEvent(event("e1", remediate.EventStepApplied))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{good, good[:3], good[:10], {0, 0, 0, 2, '{', '}'}, {0xff, 0xff, 0xff, 0xff}, {0, 0, 0, 0}, nil} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ev, err := decodeEvent(1, data)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		again, err := encodeEvent(ev)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeEvent(1, again); err != nil || !reflect.DeepEqual(ev, back) {
			t.Fatalf("%+v became %+v, %v", ev, back, err)
		}
	})
}

// FuzzOpen: a file of any content opens; what it was is kept beside it unless it holds all that was in it; and it can
// be written to. The content is a state file with some of its bytes replaced, or the bytes alone.
func FuzzOpen(f *testing.F) {
	good := filepath.Join(f.TempDir(), "good")
	whole := filled(f, good, 3)
	s := open(f, good, Options{})
	want, err := s.Load()
	if err != nil {
		f.Fatal(err)
	}
	s.Close()
	f.Add(0, []byte{}, true)
	f.Add(16, []byte{0xff}, true)
	f.Add(4096+64, []byte{1, 2, 3, 4}, true)
	f.Add(len(whole)-4096, bytes.Repeat([]byte{0xa5}, 64), true)
	f.Add(0, []byte("not a state file\n"), false)
	f.Add(0, whole[:4096], false)
	f.Fuzz(func(t *testing.T, at int, patch []byte, whole2 bool) {
		content := patch
		if whole2 {
			content = bytes.Clone(whole)
			copy(content[min(max(at, 0), len(content)):], patch)
		}
		path := filepath.Join(t.TempDir(), "s")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, found, err := Open(path, Options{})
		if errors.Is(err, ErrNewerSchema) {
			return // its seal is right, so this is one
		}
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if found.SetAside != "" {
			if kept, err := os.ReadFile(found.SetAside); err != nil || !bytes.Equal(kept, content) {
				t.Fatalf("what was set aside is not what was there: %v", err)
			}
		} else if got, err := s.Load(); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("it was taken, and holds something else: %v", err)
		}
		if _, err := s.Commit(Change{Positions: map[string][]byte{"after": {1}}}); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Load(); err != nil || len(got.Positions["after"]) != 1 {
			t.Fatalf("it cannot be used: %v", err)
		}
	})
}
