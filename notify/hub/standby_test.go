package hub

import (
	"testing"
	"time"
)

// TestStale: one who is refused for what it was not given to read waits for that for a while, and no longer.
func TestStale(t *testing.T) {
	now := time.Unix(1000, 0)
	p := &picture{last: 7}
	for _, c := range []struct {
		name  string
		after time.Duration
		last  uint64
		want  bool
	}{
		{"refused for the first time", 0, 7, false},
		{"shortly behind", staleAfter - 1, 7, false},
		{"something came", staleAfter, 8, false},
		{"shortly behind that", staleAfter + 1, 8, false},
		{"nothing came", 2 * staleAfter, 8, true},
	} {
		p.last = c.last
		if got := p.stale(now.Add(c.after)); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}

// TestWatchLooks: the bucket of host states is read anew where it has messages that do not come, and only then.
func TestWatchLooks(t *testing.T) {
	var w watch
	stopped := 0
	stop := func() { stopped++ }
	w.stop.Store(&stop)
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		name  string
		read  uint64
		last  uint64
		after time.Duration
		want  bool
	}{
		{"all is read", 5, 5, 0, false},
		{"one is on its way", 5, 6, time.Second, false},
		{"it came", 6, 6, 20 * time.Second, false},
		{"more is on its way", 6, 9, 25 * time.Second, false},
		{"some came", 7, 9, 34 * time.Second, false},
		{"no more comes", 7, 9, 44 * time.Second, true},
		{"it begins anew", 7, 9, 60 * time.Second, false},
	} {
		w.seq.Store(c.read)
		if got := w.look(c.last, now.Add(c.after)); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
	if stopped != 1 {
		t.Errorf("stopped %d times", stopped)
	}
}
