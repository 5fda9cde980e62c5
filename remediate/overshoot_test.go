package remediate

import (
	"fmt"
	"testing"
	"time"
)

// bursts are so many, each so long, one every so often, from the first 20 ms on.
func bursts(n int, every, long time.Duration, rate float64) func(time.Duration) float64 {
	const first = 20 * time.Millisecond
	return func(at time.Duration) float64 {
		if at < first || (at-first)/every >= time.Duration(n) || (at-first)%every >= long {
			return 0
		}
		return rate
	}
}

// TestWorldOvershoot: a load that lasts, rises or comes again and again ends with at most twice as much room as it needed, and
// as much more as a step before the table is full is early. A burst that is over before the next reading may have been the
// beginning of such a load: it makes one step of max_step at most, and doubles that where it goes on.
func TestWorldOvershoot(t *testing.T) {
	const early = 1 / 0.9 // pressure is due at nine tenths
	lasting := 2 * early
	for _, c := range []struct {
		name   string
		limits []uint64
		arrive func(time.Duration) float64
		times  float64 // the entries at the most, or the limit at the start where that is more
	}{
		{"300,000 at 100,000/s", []uint64{20_000}, bursts(1, time.Hour, 3*time.Second, 100_000), 2},
		{"300,000 at 100,000/s", []uint64{65_536}, bursts(1, time.Hour, 3*time.Second, 100_000), lasting},
		{"300,000 at 150,000/s", []uint64{20_000, 65_536}, bursts(1, time.Hour, 2*time.Second, 150_000), lasting},
		{"300,000 at 200,000/s", []uint64{20_000, 65_536}, bursts(1, time.Hour, 1500*time.Millisecond, 200_000), 2},
		{"300,000 at 500,000/s", []uint64{20_000, 65_536}, bursts(1, time.Hour, 600*time.Millisecond, 500_000), 2},
		{"5,000/s for 10 s", []uint64{4096, 20_000}, bursts(1, time.Hour, 10*time.Second, 5000), lasting},
		{"50,000/s for 3 s", []uint64{20_000, 65_536}, bursts(1, time.Hour, 3*time.Second, 50_000), lasting},
		{"a ramp", []uint64{20_000, 65_536}, func(at time.Duration) float64 { return 33_000 * min(at.Seconds(), 3) }, lasting},
		{"a sawtooth", []uint64{20_000}, sawtooth(10_000, 5000), lasting},
		{"26 bursts of 50 ms in 5 s", []uint64{20_000, 65_536}, bursts(26, 200*time.Millisecond, 50*time.Millisecond, 100_000), lasting},
		{"2,000 at once", []uint64{4096, 8192, 65_536}, bursts(1, time.Hour, 10*time.Millisecond, 200_000), 4},
		{"5,000 at once", []uint64{4096, 8192, 65_536}, bursts(1, time.Hour, 25*time.Millisecond, 200_000), 5},
		{"7,000 at once", []uint64{4096, 8192, 65_536}, bursts(1, time.Hour, 35*time.Millisecond, 200_000), 5},
		{"10,000 at once", []uint64{4096, 8192, 16_384}, bursts(1, time.Hour, 50*time.Millisecond, 200_000), 5},
	} {
		for _, limit := range c.limits {
			t.Run(fmt.Sprintf("%s on %d", c.name, limit), func(t *testing.T) {
				w := newWorld(worldPolicy(), limit, c.arrive)
				w.run(6 * time.Second)
				needed := limit
				for _, tb := range w.tr.tables {
					needed = max(needed, tb.peak())
				}
				times := float64(w.limits.Max) / float64(needed)
				t.Logf("%.2f times %d: %s", times, needed, w)
				if w.refused > 0 || times > c.times {
					t.Errorf("%.2f times the %d needed, want %.2f at most, and none refused", times, needed, c.times)
				}
			})
		}
	}
}
