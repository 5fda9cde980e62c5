package agent

import (
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// hang makes the next looks find a read that does not return, and returns what lets it return.
func (h *holdReader) hang() (answer func(heldResult)) {
	reading := make(chan heldResult, 1)
	h.reading = reading
	return func(r heldResult) { reading <- r }
}

func TestHoldOnADiskThatHangs(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	h := newHoldReader(apply.HoldPlaces{StateDir: dir, RuntimeDir: t.TempDir()})
	h.within = time.Minute // the disk answers, however busy the machine is
	answer := h.hang()
	if held, err := h.read(now); held == nil || err == nil {
		t.Errorf("never read: %+v, %v; want a hold", held, err)
	}
	answer(heldResult{})
	if held, err := h.read(now); held != nil || err != nil {
		t.Errorf("no hold: %+v, %v", held, err)
	}
	h.hang()
	for range 100 { // none of these waits, or the test takes a minute
		if held, err := h.read(now); held != nil || err == nil {
			t.Fatalf("read before: %+v, %v; want no hold, and why", held, err)
		}
	}
	answer = h.hang()
	if err := apply.SetHold(dir, remediate.Hold{Since: now, Until: now.Add(time.Hour), By: "me"}); err != nil {
		t.Fatal(err)
	}
	answer(heldResult{}) // of the time before
	if held, err := h.read(now); held == nil || held.By != "me" || err != nil {
		t.Errorf("held: %+v, %v", held, err)
	}
	h.hang()
	if held, err := h.read(now); held == nil || held.By != "me" || err == nil {
		t.Errorf("held before: %+v, %v", held, err)
	}
	if held, err := h.read(now.Add(2 * time.Hour)); held != nil || err == nil {
		t.Errorf("over by now: %+v, %v", held, err)
	}
}
