package remediate

import (
	"math/rand/v2"
	"testing"
	"time"
)

// leastRoom is how many entries must be free at the beginning so that nothing is refused of a load of that many a
// second: what comes in 20 ms, and 2,000 at least.
func leastRoom(most float64) uint64 { return uint64(max(most/50, 2000)) }

// partlyFilled is a space with a random load of up to so many a second, in which some of the limit is in use already.
func partlyFilled(rng *rand.Rand, ns NetNS, most float64, limit uint64) *space {
	s := &space{ns: ns, arrive: randomLoad(rng, most), count: rng.Uint64N(limit - leastRoom(most) + 1)}
	if rng.IntN(3) == 0 {
		s.count = limit - leastRoom(most) // just as much room as there has to be
	}
	if rng.IntN(2) == 0 {
		s.lives = time.Duration(rng.Int64N(int64(3 * time.Second)))
	}
	return s
}

// TestWorldPartlyFilled: nor is anything refused by tables that are partly in use when the agent starts, in one
// namespace or in two under the one limit.
func TestWorldPartlyFilled(t *testing.T) {
	p := worldPolicy()
	p.Ceiling = 1 << 22
	stepped := 0
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 101))
		limit := uint64(8192) << rng.IntN(6)
		w := newWorld(p, limit, nil)
		w.memory.Total, w.memory.Available = 256<<30, 256<<30
		w.late = func() time.Duration { return time.Duration(rng.Int64N(int64(2 * time.Millisecond))) }
		w.space = partlyFilled(rng, host, p.MaxInsertRate*rng.Float64(), limit)
		if seed%2 == 0 {
			w.others = append(w.others, partlyFilled(rng, pod, p.MaxInsertRate*rng.Float64(), limit))
		}
		w.run(3 * time.Second)
		if len(w.steps) > 0 {
			stepped++
		}
		for _, s := range w.all() {
			if s.refused > 0 || w.bound() != "" {
				t.Errorf("seed %d: %d refused in %s: %s (%s)", seed, s.refused, s.ns.Name, w, w.bound())
			}
		}
	}
	if stepped < 100 {
		t.Errorf("steps in %d of 200 runs only", stepped)
	}
}

// TestWorldFasterThanSaid: a load that comes up to a hundred times max_insert_rate is read as often as it was measured
// to need, so that nothing is refused of it either.
func TestWorldFasterThanSaid(t *testing.T) {
	p := worldPolicy()
	p.MaxInsertRate, p.Ceiling = 1000, 1<<22
	for _, rise := range []float64{5_000, 10_000, 20_000} { // more a second each second
		w := newWorld(p, 65536, func(at time.Duration) float64 { return min(rise*at.Seconds(), 100_000) })
		w.run(8 * time.Second)
		t.Log(w)
		if w.refused > 0 || len(w.steps) == 0 {
			t.Errorf("%v/s more each second: %s", rise, w)
		}
	}
}

// TestWorldBeyondTheRate: a load that comes at once, at up to three and a half times max_insert_rate, is refused nothing
// either where the limit is full in 100 ms at that rate, also on a busy host: readings come up to 8 ms late. The limit ends
// at twice what the load needs at most, as much earlier as a step is due, or with a second's room at the rate, rounded up.
func TestWorldBeyondTheRate(t *testing.T) {
	p := worldPolicy()
	p.Ceiling = 1 << 23
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 103))
		limit := uint64(20_000) << rng.IntN(4)
		rate := p.MaxInsertRate * (0.5 + 3*rng.Float64())
		flows := float64(limit) * (1 + 10*rng.Float64())
		begin := time.Second + time.Duration(rng.Int64N(int64(time.Second)))
		w := newWorld(p, limit, func(at time.Duration) float64 {
			if at < begin || rate*(at-begin).Seconds() >= flows {
				return 0
			}
			return rate
		})
		w.late = func() time.Duration { return time.Duration(rng.Int64N(int64(8 * time.Millisecond))) }
		w.run(begin + time.Duration(flows/rate*float64(time.Second)) + time.Second)
		most := max(2*(flows+p.MaxInsertRate*StepLead.Seconds()), 2*flows/p.Pressure, 1.1*(flows+p.MaxInsertRate))
		if w.refused > 0 || float64(w.limits.Max) > most || w.bound() != "" {
			t.Errorf("seed %d: %.0f at %.0f/s: %s (%s)", seed, flows, rate, w, w.bound())
		}
	}
}

// TestWorldBeyondTheRateAtItsWorst has such a load begin at any moment between two readings, each of which comes 8 ms late.
func TestWorldBeyondTheRateAtItsWorst(t *testing.T) {
	p := worldPolicy()
	for _, limit := range []uint64{20_000, 24_000, 32_000} {
		for _, times := range []float64{2.5, 3, 3.5} {
			for phase := range 160 { // 40 ms, as far apart as two readings are at most
				begin := time.Second + time.Duration(phase)*time.Second/4000
				w := newWorld(p, limit, func(at time.Duration) float64 {
					if at < begin {
						return 0
					}
					return times * p.MaxInsertRate
				})
				w.late = func() time.Duration { return 8 * time.Millisecond }
				w.run(begin + 200*time.Millisecond)
				if w.refused > 0 {
					t.Errorf("a limit of %d, %v times the rate, from %v on: %s", limit, times, begin, w)
				}
			}
		}
	}
}
