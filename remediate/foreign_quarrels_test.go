package remediate

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestQuarrels plays random quarrels: others who lower and raise at any time, a table that is full most of the time,
// restarts, clocks that are set back in between.
func TestQuarrels(t *testing.T) {
	taken, yielded := 0, 0
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 5))
		q := disputed(t)
		raised, against := map[uint64][]time.Time{}, []time.Time(nil)               // by what others had set; all lowerings
		set, down := map[uint64]time.Time{1000: q.now}, map[uint64]bool{1000: true} // when, and whether that lowered it
		times := map[uint64]int{1000: 1}                                            // that it was set
		var changed time.Time
		lowered, began, inPause := uint64(1000), uint64(4000), uint64(0)
		changed = q.now
		for range 300 {
			q.at(q.now.Sub(noon) + sec([]float64{1, 30, 120, 400}[rng.IntN(4)]))
			switch rng.IntN(12) {
			case 0, 1, 2, 3:
				was := q.limit
				q.lower([]uint64{1000, 1000, 1000, 700, 9000, 500 + rng.Uint64N(500)}[rng.IntN(6)])
				if q.limit != was {
					lowered = 0
					if q.limit < was {
						lowered = q.limit
					}
					at, seen := set[q.limit]
					lately := seen && q.now.Sub(at) < time.Hour && down[q.limit]
					times[q.limit]++
					known := lately && times[q.limit] >= repeatedTimes
					down[q.limit] = lately || lowered != 0
					if lowered != 0 && !known {
						if q.now.Sub(changed) >= q.p.ForeignPause || was > began {
							began = was
						}
						changed = q.now
					}
					set[q.limit] = q.now
				}
			case 4:
				q.restart("b1")
				q.read(host, 100, q.drops, 0)
			case 5:
				q.rise()
			}
			waits := q.limit == lowered || q.now.Sub(changed) < q.p.ForeignPause || len(raised[q.limit]) >= mostReraises
			q.refuse()
			if waits {
				inPause += 7
			}
			before := len(q.steps)
			if q.decide() == ReasonForeignChange && strings.Contains(q.said(), "which is enough") {
				yielded++
			}
			if len(q.steps) == before {
				continue
			}
			taken++
			step := q.steps[before]
			if step.At.Sub(changed) < q.p.ForeignPause && step.From < began {
				t.Fatalf("quarrel %d: a step %s after somebody else's change", seed, step.At.Sub(changed))
			}
			if _, theirs := set[step.From]; !theirs {
				continue
			}
			raises := append(raised[step.From], step.At)
			raised[step.From] = raises
			if n := len(raises); n > mostReraises && step.At.Sub(raises[n-1-mostReraises]) < time.Hour {
				t.Fatalf("quarrel %d: three times within the hour from %d: %v", seed, step.From, raises)
			}
			if step.From != lowered {
				continue
			}
			against = append(against, step.At)
			if n := len(against); n > mostReraises && step.At.Sub(against[n-1-mostReraises]) < time.Hour {
				t.Fatalf("quarrel %d: three times within the hour against others: %v", seed, against)
			}
			if step.Reason != ReasonFull {
				t.Fatalf("quarrel %d: raised somebody else's limit for %s", seed, step.Reason)
			}
		}
		if got := q.tr.RefusedInPause(); got > inPause {
			t.Fatalf("quarrel %d: %d refused in pauses, at most %d were", seed, got, inPause)
		}
	}
	if taken < 200 || yielded < 20 {
		t.Errorf("%d steps, %d times given in: the quarrels are too quiet", taken, yielded)
	}
}
