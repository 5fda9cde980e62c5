package agent

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/notify"
)

// TestDamagedOutboxKeepsTheRest damages an event of the outbox alone. The agent goes on from the incidents and steps, and
// the fresh file has them.
func TestDamagedOutboxKeepsTheRest(t *testing.T) {
	h := newScratch(t)
	h.cfg.NATS = notify.Dial{Servers: []string{"nats://127.0.0.1:1"}} // never dialled: the agent is not run
	whole := h.leave(t)
	subject := []byte(`"subject":"`) // of the head of an event
	at := bytes.LastIndex(whole, subject)
	if at < 0 {
		t.Fatal("no event in the file")
	}
	for ; at >= 0; at = bytes.LastIndex(whole[:at], subject) { // of older copies too
		whole[at+1] ^= 1
	}
	if err := os.WriteFile(h.stateFile(), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	h.table(t, 79_000, 80_000, 0)
	a := h.open(t)
	if !h.setAside(t) || !strings.Contains(a.notes[noteState], "which were sound") {
		t.Errorf("said: %q", a.notes[noteState])
	}
	steps := len(a.steps)
	if a.sample(); steps == 0 || len(a.tracker.Open()) != 1 || len(a.saved.Open) != 1 || a.tracker.Open()[0].ID != a.saved.Open[0].ID {
		t.Errorf("%d steps, open %+v, saved %+v", steps, a.tracker.Open(), a.saved.Open)
	}
	a.save(true)
	if !a.recorder.work(context.Background()) {
		t.Fatal("not saved")
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	b := h.open(t)
	if h.setAside(t) || len(b.steps) != steps || len(b.saved.Open) != 1 {
		t.Errorf("the next start finds %d steps, %d incidents; want %d and 1", len(b.steps), len(b.saved.Open), steps)
	}
}

// TestWaitForTheFirstPages: as long as the disk gives nothing the start waits for it five seconds, and not when it stops.
func TestWaitForTheFirstPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk("state.db", state.Options{})
		begin := time.Now()
		if _, err := d.awaitBegun(t.Context(), make(chan beginning)); !errors.Is(err, errDiskSlow) || time.Since(begin) != readsWithin {
			t.Errorf("a disk that hangs: %v after %v", err, time.Since(begin))
		}
		begin = time.Now()
		if err := d.awaitDone(t.Context(), make(chan error), wholeWithin); !errors.Is(err, errDiskSlow) || time.Since(begin) != wholeWithin {
			t.Errorf("the rest: %v after %v", err, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin = time.Now()
		_, err := d.awaitBegun(ctx, make(chan beginning))
		if err2 := d.awaitDone(ctx, make(chan error), time.Hour); err == nil || err2 == nil || time.Since(begin) != time.Second {
			t.Errorf("a stop: %v and %v after %v", err, err2, time.Since(begin))
		}
	})
}
