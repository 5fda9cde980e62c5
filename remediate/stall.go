package remediate

import "time"

const (
	// LearnedResizes is how many measured resizes are worth keeping.
	LearnedResizes = 8
	// leastLearned is how many entries a resize must have moved to tell the price of one, and learnedShare (1/16) how
	// many for each new bucket: making the new hash takes time too, and stalls nobody.
	leastLearned = 5000
	learnedShare = 16
	// leastPerEntry and mostPerEntry bound what is believed of a measurement.
	leastPerEntry = 50 * time.Nanosecond
	mostPerEntry  = 20 * time.Microsecond
	// aloneAtMost bounds what a single measurement counts for until another bears it out.
	aloneAtMost = StallPerEntry * 3 / 2
)

// Resize is one resize of the kernel's hash, as it went.
type Resize struct {
	At time.Time `json:"at"`
	// From is the number of buckets before, Asked what was written and To what was read back.
	From  uint64 `json:"from"`
	Asked uint64 `json:"asked"`
	To    uint64 `json:"to"`
	// Entries is how many entries of all namespaces it moved, as last counted.
	Entries uint64 `json:"entries"`
	// TookUS is how long the write took and BusyUS for how much of that it kept a CPU busy, in microseconds. Packets
	// stand still for most of the latter: the rest of it makes the new hash, and for the rest of the former the kernel
	// waits until nobody looks at the old one.
	TookUS int64 `json:"took_us"`
	BusyUS int64 `json:"busy_us"`
}

// perEntry is what an entry cost, and false where the resize does not tell: too few were moved.
func (r Resize) perEntry() (time.Duration, bool) {
	if r.BusyUS <= 0 || r.Entries < max(leastLearned, r.To/learnedShare) {
		return 0, false
	}
	busy := time.Duration(min(r.BusyUS, time.Hour.Microseconds())) * time.Microsecond
	return min(max(busy/time.Duration(min(r.Entries, 1<<40)), leastPerEntry), mostPerEntry), true
}

// Teaches tells whether the resize moved so many entries that it says something about the price of one.
func (r Resize) Teaches() bool {
	_, ok := r.perEntry()
	return ok
}

// LearnedStall is the price of an entry in a resize, from the resizes measured on this machine: the highest of the last
// [LearnedResizes]. Nothing rests on one measurement alone, which a busy hypervisor may have spoilt: until another bears
// it out it makes the price neither less than the usual one nor more than half as high again.
func LearnedStall(resizes []Resize) time.Duration {
	var highest, second time.Duration
	taken := 0
	for i := len(resizes) - 1; i >= 0 && taken < LearnedResizes; i-- {
		cost, ok := resizes[i].perEntry()
		if !ok {
			continue
		}
		taken++
		if cost > highest {
			highest, second = cost, highest
		} else {
			second = max(second, cost)
		}
	}
	if taken < 2 {
		second = StallPerEntry
	}
	return max(second, min(highest, aloneAtMost))
}
