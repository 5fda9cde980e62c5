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

func TestHold(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if h, err := Held(dir, at); h != nil || err != nil {
		t.Errorf("no directory: %+v, %v", h, err)
	}
	if was, err := ClearHold(dir); was || err != nil {
		t.Errorf("no directory: %v, %v", was, err)
	}
	for name, want := range map[string]remediate.Hold{
		"for two hours": {Until: at.Add(2 * time.Hour), Since: at, By: "ops (uid 1000)"},
		"without end":   {Since: at, By: "root"},
	} {
		if err := SetHold(dir, want); err != nil {
			t.Fatal(err)
		}
		want.File = filepath.Join(dir, HoldFile)
		got, err := Held(dir, at.Add(time.Hour))
		if err != nil || got == nil || *got != want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
		}
		late, err := Held(dir, at.Add(2*time.Hour))
		if err != nil || (late != nil) != want.Until.IsZero() {
			t.Errorf("%s, two hours later: %+v, %v", name, late, err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, HoldFile))
	if err != nil || !strings.Contains(string(text), "unhold") {
		t.Errorf("%s, %v", text, err)
	}
	was, err := ClearHold(dir)
	again, err2 := ClearHold(dir)
	if !was || again || errors.Join(err, err2) != nil {
		t.Errorf("%v, %v, %v, %v", was, again, err, err2)
	}
	if h, err := Held(dir, at); h != nil || err != nil {
		t.Errorf("released: %+v, %v", h, err)
	}
}

// Whoever made the file wanted a stop.
func TestHoldByHand(t *testing.T) {
	tests := []struct {
		name string
		text string
		held bool
		bad  bool
	}{
		{"touched", "", true, false},
		{"a comment", "# maintenance\n", true, false},
		{"only until", "until: 2026-03-04T06:00:00Z", true, false},
		{"over", "until: 2026-03-04T05:00:00Z\n", false, false},
		{"with another zone", "until: 2026-03-04T05:30:00+01:00\r\nby: me\r\n", false, false},
		{"no time", "until: tomorrow\n", true, true},
		{"no name", "please stop\n", true, true},
		{"noise", "\x00\xff\x01", true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, HoldFile), []byte(tt.text), 0o644); err != nil {
				t.Fatal(err)
			}
			h, err := Held(dir, at)
			if (h != nil) != tt.held || (err != nil) != tt.bad || tt.bad && !errors.Is(err, ErrDamaged) {
				t.Errorf("%+v, %v", h, err)
			}
			if h != nil && (!h.Active(at) || h.Since.IsZero() || h.By == "") {
				t.Errorf("%+v", h)
			}
			if was, err := ClearHold(dir); !was || err != nil {
				t.Errorf("%v, %v", was, err)
			}
		})
	}
}

func TestHoldUnreadable(t *testing.T) {
	for name, plant := range map[string]func(p string) error{
		"a directory": func(p string) error { return os.Mkdir(p, 0o755) },
		"a loop":      func(p string) error { return os.Symlink(HoldFile, p) },
	} {
		dir := t.TempDir()
		if err := plant(filepath.Join(dir, HoldFile)); err != nil {
			t.Fatal(err)
		}
		if h, err := Held(dir, at); h == nil || err == nil || !h.Active(at) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
	// A pipe without a writer reads as empty, at once.
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, HoldFile), 0o600); err != nil {
		t.Fatal(err)
	}
	if h, err := Held(dir, at); h == nil || err != nil {
		t.Errorf("a pipe: %+v, %v", h, err)
	}
}

func FuzzParseHold(f *testing.F) {
	f.Add([]byte("until: 2026-03-04T05:00:00Z\nsince: 2026-03-04T05:00:00Z\nby: root\n"))
	f.Add([]byte("until: released\n# x\n\n"))
	f.Add([]byte("by"))
	f.Add([]byte("until: 9999-99-99T00:00:00Z"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := parseHold(data)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		dir := t.TempDir()
		if err := SetHold(dir, h); err != nil {
			t.Fatal(err)
		}
		again, err := holdFile(HoldFile).read(dir)
		if err != nil || again == nil {
			t.Fatalf("%+v became %+v, %v", h, again, err)
		}
		if !again.Until.Equal(h.Until.Truncate(time.Second)) || again.By != oneLine(h.By) {
			t.Fatalf("%+v became %+v", h, again)
		}
	})
}
