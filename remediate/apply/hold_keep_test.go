package apply

import (
	"context"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// TestKeep moves a hold from memory to the disk, and never shortens one.
func TestKeep(t *testing.T) {
	hold := func(d time.Duration, by string) string {
		until := forever
		if d != 0 {
			until = at.Add(d).Format(time.RFC3339)
		}
		return "until: " + until + "\nsince: " + at.Add(-time.Minute).Format(time.RFC3339) + "\nby: " + by + "\n"
	}
	for _, tt := range []struct {
		name, kept, inMemory string
		moved, bad           bool
		by                   string        // of the one on disk afterwards; empty: there is none
		lasts                time.Duration // likewise; 0: without end
	}{
		{"none on disk", "", hold(0, "ann"), true, false, "ann", 0},
		{"none on disk, with an end", "", hold(time.Hour, "ann"), true, false, "ann", time.Hour},
		{"a shorter one on disk", hold(time.Hour, "ann"), hold(0, "bob"), true, false, "bob", 0},
		{"a longer one on disk", hold(2*time.Hour, "ann"), hold(time.Hour, "bob"), true, false, "ann", 2 * time.Hour},
		{"one that is over on disk", hold(-time.Hour, "ann"), hold(time.Hour, "bob"), true, false, "bob", time.Hour},
		{"not understood in memory", hold(time.Hour, "ann"), "noise\n", false, false, "unknown", 0},
		{"not understood on disk", "noise\n", hold(0, "bob"), false, true, "unknown", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlaces(t, true)
			writeHolds(t, p, tt.kept, tt.inMemory)
			h, _ := p.HeldInMemory(at)
			moved, err := p.Keep(h, at)
			if moved != tt.moved || (err != nil) != tt.bad {
				t.Errorf("moved %v, %v; want %v, an error: %v", moved, err, tt.moved, tt.bad)
			}
			if left, _ := p.HeldInMemory(at); (left == nil) != tt.moved {
				t.Errorf("in memory: %+v", left)
			}
			want := remediate.Hold{By: tt.by}
			if tt.lasts != 0 {
				want.Until = at.Add(tt.lasts)
			}
			got, _ := Held(p.StateDir, at)
			if got == nil || got.By != want.By || !got.Until.Equal(want.Until) {
				t.Errorf("on disk: %+v, want by %s until %v", got, want.By, want.Until)
			}
		})
	}
}

// TestKeepLeavesWhatIsNotMeant: a hold that an operator has changed is not the one that was to be moved, and while an order
// is at work none is moved.
func TestKeepLeavesWhatIsNotMeant(t *testing.T) {
	p := newPlaces(t, true)
	writeHolds(t, p, "", "by: ann\n")
	meant, err := p.HeldInMemory(at)
	if err != nil {
		t.Fatal(err)
	}
	unlock, alone := p.alone(0)
	if !alone {
		t.Fatal("not alone")
	}
	if moved, err := p.Keep(meant, at); moved || err != nil {
		t.Errorf("during an order: %v, %v", moved, err)
	}
	if h, err := Held(p.StateDir, at); h != nil || err != nil {
		t.Errorf("written during an order: %+v, %v", h, err)
	}
	unlock()
	changed := remediate.Hold{Since: at, By: "bob"}
	if err := p.setInMemory(changed); err != nil {
		t.Fatal(err)
	}
	if moved, err := p.Keep(meant, at); moved || err != nil {
		t.Errorf("changed meanwhile: %v, %v", moved, err)
	}
	if h, err := p.HeldInMemory(at); h == nil || h.By != "bob" || err != nil {
		t.Errorf("the changed one: %+v, %v", h, err)
	}
}

// TestKeepWithoutDisk: what the disk does not take stays in memory.
func TestKeepWithoutDisk(t *testing.T) {
	p := newPlaces(t, false)
	if unkept, err := p.Set(remediate.Hold{Since: at, By: "ann"}); unkept == nil || err != nil {
		t.Fatal(unkept, err)
	}
	h, _ := p.HeldInMemory(at)
	if moved, err := p.Keep(h, at); moved || err == nil {
		t.Errorf("%v, %v", moved, err)
	}
	if h, err := p.Held(at); h == nil || !h.UntilBoot || err != nil {
		t.Errorf("%+v, %v", h, err)
	}
}

// TestHeldAtAnyMoment moves a hold under somebody who looks, again and again: one of the two places always holds.
func TestHeldAtAnyMoment(t *testing.T) {
	for range 200 {
		p := newPlaces(t, true)
		writeHolds(t, p, "", "by: ann\n")
		h, err := p.HeldInMemory(at)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		looking, free := make(chan struct{}), make(chan bool, 1)
		go func() {
			close(looking)
			for ctx.Err() == nil {
				if h, err := p.Held(at); h == nil || err != nil {
					free <- true
					return
				}
			}
			free <- false
		}()
		<-looking
		moved, err := p.Keep(h, at)
		stop()
		if <-free {
			t.Fatal("for a moment there was no hold")
		}
		if !moved || err != nil {
			t.Fatal(moved, err)
		}
	}
}
