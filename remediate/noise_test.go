package remediate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// A noise is a table that stands at a level, with connections that come and go: it wanders by so much about it and is
// back after so long on average.
type noise struct {
	level, swing float64 // shares of the limit
	back         time.Duration
}

// comeUp is how long such a table takes from empty to its level. At twice that pace one in six is foreseen to be full, with the
// noise on top, before it stands.
const comeUp = time.Hour

// play reads it for an hour as often as it would be, after it has come up. It returns how many warnings were opened and how
// often a step was due.
func (n noise) play(p Policy, limit, seed uint64) (warnings, steps int) {
	rng := rand.New(rand.NewPCG(seed, limit))
	w := newWorld(p, limit, nil)
	end, away := noon.Add(comeUp+time.Hour), 0.0
	for last := w.now; w.now.Before(end); {
		keep := math.Exp(-w.now.Sub(last).Seconds() / n.back.Seconds())
		last = w.now
		away = keep*away + math.Sqrt(1-keep*keep)*rng.NormFloat64()/2
		level := n.level * min(w.now.Sub(noon).Seconds()/comeUp.Seconds(), 1)
		w.count = uint64(max(level+n.swing*min(max(away, -1), 1), 0) * float64(limit))
		r := Reading{At: w.now, NetNS: host, Count: w.count, Max: limit, Buckets: w.limits.Buckets, CountersOK: true}
		for _, ev := range append(w.tr.Read(w.now, r), w.tr.Tick(w.now)...) {
			if ev.Type == EventIncidentOpened {
				warnings++
			}
		}
		for _, ask := range w.tr.Asks(w.now) {
			if Decide(p, Situation{Now: w.now, Ask: ask, Limits: w.limits, Memory: w.memory, Chains: ChainsLong, Entries: w.count}).Do {
				steps++
			}
		}
		growth, _ := w.tr.Growth(host.Inode)
		w.now = w.now.Add(SamplePeriod(p, r, Sampling{Growth: growth}))
	}
	return warnings, steps
}

// TestNoiseDoesNotChatter: a table that stands just below the pressure share opens no warning however it wanders there,
// and one that goes to and fro across it opens one in an hour. No step is due for either.
func TestNoiseDoesNotChatter(t *testing.T) {
	for _, n := range []struct {
		noise
		most int
	}{
		{noise{0.88, 0.019, 2 * time.Second}, 0},
		{noise{0.88, 0.019, 10 * time.Second}, 0},
		{noise{0.86, 0.039, 20 * time.Second}, 0},
		{noise{0.88, 0.022, 5 * time.Second}, 1},
		{noise{0.90, 0.01, 5 * time.Second}, 1},
	} {
		for limit, rate := range map[uint64]float64{4096: 5000, 65536: 200_000} {
			t.Run(fmt.Sprintf("%v to and fro by %v in %s, of %d", n.level, n.swing, n.back, limit), func(t *testing.T) {
				p := worldPolicy()
				p.MaxInsertRate = rate
				for seed := range uint64(3) {
					if warnings, steps := n.play(p, limit, seed); warnings > n.most || steps > 0 {
						t.Errorf("seed %d: %d warnings and %d times a step, want %d warnings at most", seed, warnings, steps, n.most)
					}
				}
			})
		}
	}
}
