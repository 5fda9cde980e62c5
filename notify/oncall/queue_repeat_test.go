package oncall

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// repeating is a desk whose sender wants to hear of what is open each minute, and of what is over for five.
func repeating(t *testing.T, f func(d *desk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(newDesk(t, &scripted{begun: time.Now(), every: time.Minute, after: 5 * time.Minute}))
	})
}

func TestRepeat(t *testing.T) {
	repeating(t, func(d *desk) {
		d.run()
		d.submit("t1 a")
		time.Sleep(150 * time.Second)
		d.submit("u2 a")
		time.Sleep(130 * time.Second)
		if s := d.Status(); s.Open != 1 || s.Repeated != 4 || s.Delivered != 2 {
			t.Errorf("status %+v", s)
		}
		d.submit("r3 a")
		time.Sleep(time.Hour)
		d.wantSent("t1@0", "t1@60", "t1@120", "u2@150", "u2@210", "u2@270", "r3@280", "r3@340", "r3@400", "r3@460", "r3@520")
		if s := d.Status(); s.Open != 0 || d.kept() != 0 {
			t.Errorf("status %+v, %d kept", s, d.kept())
		}
		d.wantOutcomes("t1 delivered 1", "u2 delivered 1", "r3 delivered 1")
	})
}

// TestRepeatOverAnOutage: repeats go on while the other end is away, at least as often as it wants to hear, and what is new
// goes before them.
func TestRepeatOverAnOutage(t *testing.T) {
	repeating(t, func(d *desk) {
		d.run()
		d.submit("t1 a")
		synctest.Wait()
		d.s.answers(away)
		time.Sleep(10 * time.Minute)
		d.submit("t2 b")
		d.s.answers(nil)
		begun := time.Now()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		seen := map[string]time.Duration{}
		for _, text := range d.s.got(true) {
			var id string
			var at float64
			if _, err := fmt.Sscanf(text, "%2s@%f", &id, &at); err != nil {
				t.Fatal(err)
			}
			if since := time.Duration(at)*time.Second - begun.Sub(d.s.begun); since >= 0 && seen[id] == 0 {
				seen[id] = since + 1
			}
		}
		if len(seen) != 2 || seen["t2"] > lastGate+lastGate/4+time.Second || seen["t1"] > 75*time.Second {
			t.Errorf("heard again after %v", seen)
		}
		if s := d.Status(); s.Dead != 0 || s.Problem != "" || s.Open != 2 {
			t.Errorf("status %+v", s)
		}
	})
}

// TestRepeatRefusedForGood: a repeat is no dead letter, and is told again when it is due.
func TestRepeatRefusedForGood(t *testing.T) {
	repeating(t, func(d *desk) {
		d.run()
		d.submit("t1 a")
		synctest.Wait()
		d.s.answers(func(context.Context, Notification) error { return permanent("no") })
		time.Sleep(90 * time.Second)
		synctest.Wait()
		if s := d.Status(); s.Dead != 0 || s.Open != 1 || s.Problem != "no" {
			t.Errorf("status %+v", s)
		}
		d.s.answers(nil)
		time.Sleep(90 * time.Second)
		synctest.Wait()
		if s := d.Status(); s.Problem != "" || s.Repeated == 0 {
			t.Errorf("status %+v", s)
		}
	})
}

// TestRepeatEndsWithADeadResolve: what nobody can be told is over must not be told as open for ever.
func TestRepeatEndsWithADeadResolve(t *testing.T) {
	repeating(t, func(d *desk) {
		d.run()
		d.submit("t1 a")
		synctest.Wait()
		d.s.answers(func(context.Context, Notification) error { return permanent("no") })
		d.submit("r2 a")
		time.Sleep(time.Hour)
		d.wantSent("t1", "r2")
		d.wantOutcomes("t1 delivered 1", "r2 dead 1")
	})
}

func TestKeep(t *testing.T) {
	repeating(t, func(d *desk) {
		d.run()
		for range 2 { // the second changes nothing
			if err := d.Keep(noteOf("t1 a")); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Keep(noteOf("r2 b")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(65 * time.Second)
		if s := d.Status(); s.Open != 1 || s.Delivered != 0 || s.Repeated != 4 {
			t.Errorf("status %+v", s)
		}
		time.Sleep(10 * time.Minute)
		if d.kept() != 1 {
			t.Errorf("%d kept", d.kept())
		}
		d.wantOutcomes()
	})
	inBubble(t, func(d *desk) {
		d.run()
		if err := d.Keep(noteOf("t1 a")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		d.wantSent() // this sender forgets nothing
	})
}

func TestKeepIsBounded(t *testing.T) {
	repeating(t, func(d *desk) {
		for i := range maxHeld {
			if err := d.Keep(noteOf(fmt.Sprintf("t%d k%d", i, i))); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Keep(noteOf("t1 other")); !errors.Is(err, ErrFull) {
			t.Errorf("got %v", err)
		}
		if err := d.Submit(noteOf("t1 other"), nil); !errors.Is(err, ErrFull) {
			t.Errorf("got %v", err)
		}
		d.submit("r1 k7")
	})
}

// TestRepeatTogether: what is open is told again in one attempt, whenever it began.
func TestRepeatTogether(t *testing.T) {
	repeating(t, func(d *desk) {
		d.run()
		for i := range 40 {
			d.submit(fmt.Sprintf("t%d k%d", i, i))
			time.Sleep(time.Second / 10)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		d.s.mu.Lock()
		defer d.s.mu.Unlock()
		if len(d.s.together) != 3 || d.s.together[0] != 40 || d.s.together[2] != 40 {
			t.Errorf("attempts of %v", d.s.together)
		}
	})
}
