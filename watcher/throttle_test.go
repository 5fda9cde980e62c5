package watcher

import (
	"testing"
	"time"
)

func TestThrottle(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	const ms = time.Millisecond
	th := NewThrottle(0.25)
	for _, c := range []struct {
		name            string
		now, took, want time.Duration
	}{
		{"the first work", 10 * ms, 10 * ms, 30 * ms},
		{"another reader meanwhile", 20 * ms, 10 * ms, 60 * ms},
		{"after a rest nothing is left over", 10000 * ms, 1 * ms, 3 * ms},
		{"what is not waited for is carried over", 10000 * ms, 1 * ms, 7 * ms},
	} {
		if got := th.book(at(c.now), c.took); got != c.want {
			t.Errorf("%s: wait %v, want %v", c.name, got, c.want)
		}
	}
	var none *Throttle
	if err := none.worked(t.Context(), time.Hour); err != nil {
		t.Error(err)
	}
}
