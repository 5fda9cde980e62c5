package apply

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ctwarden/ctwarden/remediate"
)

// TestClearAllOrNothing: a hold on disk that cannot be removed keeps the one in memory, which may last longer.
func TestClearAllOrNothing(t *testing.T) {
	p := newPlaces(t, true)
	writeHolds(t, p, "", "by: ann\n")
	// A directory with something in it is not removed, whoever asks.
	if err := os.MkdirAll(filepath.Join(p.StateDir, HoldFile, "below"), 0o700); err != nil {
		t.Fatal(err)
	}
	if was, err := p.Clear(); was || err == nil {
		t.Errorf("%v, %v", was, err)
	}
	if h, err := p.HeldInMemory(at); h == nil || err != nil {
		t.Errorf("in memory: %+v, %v", h, err)
	}
}

// TestAGivenUpOrderTakesNoEffect: what hung until nobody waited for it any more changes nothing.
func TestAGivenUpOrderTakesNoEffect(t *testing.T) {
	dir := t.TempDir()
	given, up := context.WithCancel(t.Context())
	up()
	if err := holdFile(HoldFile).set(given, dir, remediate.Hold{Since: at, By: "late"}, 0o600); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if h, err := Held(dir, at); h != nil || err != nil {
		t.Errorf("set: %+v, %v", h, err)
	}
	if err := SetHold(dir, remediate.Hold{Since: at, By: "ann"}); err != nil {
		t.Fatal(err)
	}
	if there, err := holdFile(HoldFile).clear(given, dir, func() { t.Error("gone") }); !there || !errors.Is(err, context.Canceled) {
		t.Error(there, err)
	}
	if h, err := Held(dir, at); h == nil || err != nil {
		t.Errorf("removed: %+v, %v", h, err)
	}
}

// TestTidy: a temporary file of an order that has ended goes, one of an order at work stays.
func TestTidy(t *testing.T) {
	p := newPlaces(t, true)
	writeHolds(t, p, "by: ann\n", "by: bob\n")
	left, other := filepath.Join(p.StateDir, ".hold123456"), filepath.Join(p.StateDir, ".holdings")
	there := func(path string) bool { _, err := os.Lstat(path); return err == nil }
	for _, path := range []string{left, other} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	unlock, _ := p.alone(0)
	p.Tidy()
	if !there(left) {
		t.Error("removed during an order")
	}
	unlock()
	for name, order := range map[string]func() error{
		"at the start": func() error { p.Tidy(); return nil },
		"by a hold":    func() error { _, err := p.Set(remediate.Hold{Since: at, By: "ann"}); return err },
		"by an unhold": func() error { _, err := p.Clear(); return err },
	} {
		if err := errors.Join(os.WriteFile(left, nil, 0o600), order()); err != nil {
			t.Fatal(name, err)
		}
		if there(left) {
			t.Errorf("%s: it is there still", name)
		}
	}
	if !there(other) {
		t.Error("what is somebody else's was removed")
	}
}
