package agent

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/watcher"
)

func TestAlarm(t *testing.T) {
	var turns atomic.Int32
	var rests atomic.Bool
	a, err := newAlarm(func() bool { turns.Add(1); return rests.Load() })
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	atRest := false
	set := func(d time.Duration) {
		t.Helper()
		if err := a.set(d, atRest); err != nil {
			t.Fatal(err)
		}
	}
	rung := func() bool {
		select {
		case <-a.rings:
			return true
		case <-a.near.C:
			return true
		default:
			return false
		}
	}
	for i, d := range []time.Duration{nearBy / 2, nearBy, nearAtRest / 2, nearAtRest, nearBy + time.Millisecond} {
		atRest = i >= 2
		for _, before := range []time.Duration{time.Hour, 10 * time.Millisecond} { // the last time set counts
			set(before)
			set(d)
			begin := time.Now()
			testhost.Eventually(t, "it rings", rung)
			if took := time.Since(begin); took < d-time.Millisecond {
				t.Errorf("it rang after %v, before its time of %v", took, d)
			}
		}
	}
	for _, d := range []time.Duration{0, -time.Second} {
		set(d)
		testhost.Eventually(t, "it rings at once", rung)
	}
	set(time.Hour)
	if rung() {
		t.Error("it rang twice for one time, or before its time")
	}
	rests.Store(true)
	turns.Store(0)
	atRest = false
	set(nearBy / 2)
	testhost.Eventually(t, "what is near rings though the host is at rest", rung)
	if n := turns.Load(); n != 0 {
		t.Errorf("it took %d turns itself", n)
	}
	atRest = true
	set(nearAtRest)
	testhost.Eventually(t, "it takes the turn itself", func() bool { return turns.Load() == 1 })
	if rung() {
		t.Error("it passed on a turn that it had taken")
	}
}

// TestBeat has a source give several signs of life in the time after which it would count as stuck.
func TestBeat(t *testing.T) {
	for _, c := range []struct{ lateAfter, want time.Duration }{
		{5 * time.Second, 5 * time.Second / 3}, {lateAfter, watcher.BeatEvery}, {24 * time.Hour, watcher.BeatEvery},
	} {
		a := Agent{audit: auditor{patience: c.lateAfter}}
		if got := a.beat(); got != c.want {
			t.Errorf("late_after %v: a sign of life every %v, want %v", c.lateAfter, got, c.want)
		}
	}
}
