package agent

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// TestHoldMovesToTheDisk: a hold that was made while the disk took nothing outlasts a reboot once it takes something, be it
// from before the start or made on a host that has nothing to save. Each move is logged once.
func TestHoldMovesToTheDisk(t *testing.T) {
	h := newScratch(t)
	core, logs := observer.New(zap.InfoLevel)
	h.cfg.Log = zap.New(core)
	leftover := filepath.Join(h.cfg.StateDir, ".hold987654")
	if err := os.MkdirAll(h.cfg.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(leftover, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	made := func(by string) {
		if err := apply.SetHold(h.cfg.RuntimeDir, remediate.Hold{Since: time.Now(), By: by}); err != nil {
			t.Fatal(err)
		}
	}
	made("before")
	a, stop, done := runScratch(t, h, 0)
	moved := func(by string, times int) {
		t.Helper()
		kept := filepath.Join(h.cfg.StateDir, apply.HoldFile)
		testhost.Eventually(t, "the hold is on the disk, and no more in memory", func() bool {
			s, err := a.Status(t.Context())
			if err != nil || s.Held == nil || s.Held.By != by {
				t.Fatalf("%+v, %v; want it held at any moment", s.Held, err)
			}
			_, err = os.Lstat(filepath.Join(h.cfg.RuntimeDir, apply.HoldFile))
			return s.Held.File == kept && !s.Held.UntilBoot && os.IsNotExist(err)
		})
		testhost.Eventually(t, "said", func() bool { return logs.FilterMessage("hold moved from memory to state_dir").Len() >= times })
		if n := logs.FilterMessage("hold moved from memory to state_dir").Len(); n != times {
			t.Errorf("said %d times, want %d", n, times)
		}
	}
	moved("before", 1)
	if _, err := os.Lstat(leftover); !os.IsNotExist(err) {
		t.Errorf("what an order left behind: %v", err)
	}
	if was, err := apply.ClearHold(h.cfg.StateDir); !was || err != nil {
		t.Fatal(was, err)
	}
	made("while it runs")
	moved("while it runs", 2)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// TestAMovedHoldOnADiskThatHangs: a hold that the agent has moved to a disk which answers no more holds, although the last
// answer of that disk was from before.
func TestAMovedHoldOnADiskThatHangs(t *testing.T) {
	p := apply.HoldPlaces{StateDir: t.TempDir(), RuntimeDir: t.TempDir()}
	now := time.Now()
	r := newHoldReader(p)
	r.within = time.Minute // the disk answers, however busy the machine is
	if held, err := r.read(now); held != nil || err != nil {
		t.Fatal(held, err)
	}
	if err := apply.SetHold(p.RuntimeDir, remediate.Hold{Since: now, By: "me"}); err != nil {
		t.Fatal(err)
	}
	k := &holdKeeper{places: p, reader: r, log: zap.NewNop()}
	k.keep()
	if held, _ := p.HeldInMemory(now); held != nil {
		t.Fatalf("in memory still: %+v", held)
	}
	answer := r.hang()
	if held, err := r.read(now); held == nil || held.By != "me" || err == nil {
		t.Errorf("the disk hangs: %+v, %v", held, err)
	}
	answer(heldResult{}) // of the time before
	if held, err := r.read(now); held == nil || held.UntilBoot || err != nil {
		t.Errorf("the disk answers: %+v, %v", held, err)
	}
	if _, err := p.Clear(); err != nil {
		t.Fatal(err)
	}
	if held, err := r.read(now); held != nil || err != nil {
		t.Errorf("released: %+v, %v", held, err)
	}
	r.hang()
	if held, err := r.read(now); held != nil || err == nil {
		t.Errorf("released, and the disk hangs again: %+v, %v", held, err)
	}
}
