package remediate

import (
	"slices"
	"time"
)

// Times is a list of times at a third of the memory, since a storm of messages may last for hours and each of its times
// counts. The zero value is empty.
type Times struct {
	first time.Time       // as added
	since []time.Duration // of each, from first
}

// Len is the number of times.
func (t *Times) Len() int { return len(t.since) }

// At is the time with an index below Len.
func (t *Times) At(i int) time.Time { return t.first.Add(t.since[i]) }

// Add puts one more time behind the others. It must lie within 292 years of the first.
func (t *Times) Add(at time.Time) {
	if len(t.since) == 0 {
		t.first = at
	}
	t.since = append(t.since, at.Sub(t.first))
}

// addAll adds the times of another list, up to most in all.
func (t *Times) addAll(other Times, most int) {
	if t.Len() == 0 {
		*t = Times{other.first, slices.Clip(other.since[:min(other.Len(), most)])}
		return
	}
	for i := range min(other.Len(), most-t.Len()) {
		t.Add(other.At(i))
	}
}

// sorted has the times in order.
func (t *Times) sorted() Times {
	if slices.IsSorted(t.since) {
		return *t
	}
	return Times{t.first, slices.Sorted(slices.Values(t.since))}
}
