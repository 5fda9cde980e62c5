package apply

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// newPlaces has a state_dir that is there where room is true, and else cannot even be made.
func newPlaces(t *testing.T, room bool) HoldPlaces {
	t.Helper()
	dir := t.TempDir()
	p := HoldPlaces{StateDir: filepath.Join(dir, "lib"), RuntimeDir: filepath.Join(dir, "run")}
	if !room {
		if err := os.WriteFile(p.StateDir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		p.StateDir = filepath.Join(p.StateDir, "below")
	}
	return p
}

// writeHolds writes both files; no text: no file.
func writeHolds(t *testing.T, p HoldPlaces, kept, inMemory string) {
	t.Helper()
	for dir, text := range map[string]string{p.StateDir: kept, p.RuntimeDir: inMemory} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, HoldFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHoldPlaces(t *testing.T) {
	for name, room := range map[string]bool{"kept": true, "in memory": false} {
		t.Run(name, func(t *testing.T) {
			p := newPlaces(t, room)
			dir := p.StateDir
			if !room {
				dir = p.RuntimeDir
			}
			want := remediate.Hold{Until: at.Add(time.Hour), Since: at, By: "ann", File: filepath.Join(dir, HoldFile), UntilBoot: !room}
			unkept, err := p.Set(want)
			if err != nil || (unkept == nil) != room {
				t.Fatalf("%v, %v", unkept, err)
			}
			if text := p.Unkept(unkept, at); strings.Contains(text, want.File+", and ends with the next boot") == room {
				t.Errorf("said: %s", text)
			}
			if got, err := p.Held(at); err != nil || got == nil || *got != want {
				t.Errorf("%+v, %v; want %+v", got, err, want)
			}
			if got, err := p.Held(want.Until); got != nil || err != nil {
				t.Errorf("over: %+v, %v", got, err)
			}
			was, err := p.Clear()
			again, err2 := p.Clear()
			if !was || again || errors.Join(err, err2) != nil {
				t.Errorf("%v, %v, %v, %v", was, again, err, err2)
			}
			if got, err := p.Held(at); got != nil || err != nil {
				t.Errorf("released: %+v, %v", got, err)
			}
		})
	}
}

// TestEitherPlaceHolds: what lasts longest counts, and what cannot be read lasts for ever.
func TestEitherPlaceHolds(t *testing.T) {
	until := func(d time.Duration) string { return "until: " + at.Add(d).Format(time.RFC3339) + "\n" }
	for _, tt := range []struct {
		name, kept, inMemory string // empty: no file
		memory, bad          bool   // which one counts, and whether an error comes too
	}{
		{"the one on disk lasts longer", until(2 * time.Hour), until(time.Hour), false, false},
		{"the one in memory lasts longer", until(time.Hour), until(2 * time.Hour), true, false},
		{"the one on disk has no end", "by: me\n", until(time.Hour), false, false},
		{"the one in memory has no end", until(time.Hour), "by: me\n", true, false},
		{"the one on disk is over", until(-time.Hour), until(time.Hour), true, false},
		{"the one in memory is over", until(time.Hour), until(-time.Hour), false, false},
		{"the one on disk is damaged", "noise\n", until(time.Hour), false, true},
		{"the one in memory is damaged", until(time.Hour), "noise\n", true, true},
		{"the one in memory is damaged, on disk is none", "", "noise\n", true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlaces(t, true)
			writeHolds(t, p, tt.kept, tt.inMemory)
			h, err := p.Held(at)
			if h == nil || !h.Active(at) || h.UntilBoot != tt.memory || (err != nil) != tt.bad || tt.bad && !errors.Is(err, ErrDamaged) {
				t.Errorf("%+v, %v", h, err)
			}
			if was, err := p.Clear(); !was || err != nil {
				t.Errorf("%v, %v", was, err)
			}
			if h, err := p.Held(at); h != nil || err != nil {
				t.Errorf("cleared: %+v, %v", h, err)
			}
		})
	}
}

// TestHoldUnreadableInMemory: the rule for the first place is that of the second.
func TestHoldUnreadableInMemory(t *testing.T) {
	p := newPlaces(t, true)
	if err := os.MkdirAll(filepath.Join(p.RuntimeDir, HoldFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if h, err := p.Held(at); h == nil || err == nil || !h.Active(at) || !h.UntilBoot {
		t.Errorf("%+v, %v", h, err)
	}
}

// TestNewHoldReplacesBoth: a shorter hold that the disk takes is not outlived by one that was in memory.
func TestNewHoldReplacesBoth(t *testing.T) {
	p := newPlaces(t, true)
	if err := SetHold(p.RuntimeDir, remediate.Hold{Since: at, By: "before"}); err != nil {
		t.Fatal(err)
	}
	if unkept, err := p.Set(remediate.Hold{Since: at, Until: at.Add(time.Hour), By: "after"}); unkept != nil || err != nil {
		t.Fatal(unkept, err)
	}
	if h, err := p.Held(at); err != nil || h == nil || h.By != "after" || h.UntilBoot {
		t.Errorf("%+v, %v", h, err)
	}
}

// TestHoldInMemoryIsPrivate: a group may pass through runtime_dir.
func TestHoldInMemoryIsPrivate(t *testing.T) {
	p := newPlaces(t, false)
	uid := os.Geteuid()
	if uid == 0 {
		uid = 54321
	}
	if err := errors.Join(os.Mkdir(p.RuntimeDir, 0o711), os.Chown(p.RuntimeDir, uid, -1)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Set(remediate.Hold{Since: at, By: "ann"}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(filepath.Join(p.RuntimeDir, HoldFile))
	if err != nil || info.Mode() != 0o600 || info.Sys().(*syscall.Stat_t).Uid != uint32(uid) {
		t.Errorf("%+v, %v; want it for uid %d alone", info, err, uid)
	}
}

// TestTheFleetsHoldIsApart: each is a file of its own, and neither's release takes the other away.
func TestTheFleetsHoldIsApart(t *testing.T) {
	for name, room := range map[string]bool{"kept": true, "in memory": false} {
		t.Run(name, func(t *testing.T) {
			own := newPlaces(t, room)
			fleet := own
			fleet.Fleet = true
			ordered := remediate.Hold{Until: at.Add(time.Hour + time.Millisecond), Since: at, By: "ann", Why: "the core\nswitch"}
			if _, err := fleet.Set(ordered); err != nil {
				t.Fatal(err)
			}
			if h, err := own.Held(at); h != nil || err != nil {
				t.Errorf("the host's own: %+v, %v", h, err)
			}
			if _, err := own.Set(remediate.Hold{Since: at, By: "bert"}); err != nil {
				t.Fatal(err)
			}
			h, err := fleet.Held(at)
			if err != nil || h == nil || !h.Fleet || h.By != "ann" || h.Why != "the core switch" || !h.Until.Equal(ordered.Until) || h.UntilBoot == room {
				t.Errorf("the fleet's: %+v, %v", h, err)
			}
			if was, err := own.Clear(); !was || err != nil {
				t.Errorf("%v, %v", was, err)
			}
			if h, err := fleet.Held(at); h == nil || err != nil {
				t.Errorf("the fleet's after the release of the other: %+v, %v", h, err)
			}
			if was, err := fleet.Clear(); !was || err != nil {
				t.Errorf("%v, %v", was, err)
			}
			if h, err := fleet.Held(at); h != nil || err != nil {
				t.Errorf("released: %+v, %v", h, err)
			}
		})
	}
}
