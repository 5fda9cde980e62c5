package remediate

import "time"

// bearableSpare is the part (a quarter) of what a bearable resize moves that a step leaves free.
const bearableSpare = 4

// guardMemory keeps the table's worst case within its share of RAM, and its growth within what is available now. An
// automatic step is made as small as it must be; a named target is met or refused.
func guardMemory(p Policy, s Situation, d *Decision) Reason {
	if memoryFits(p, s, d.To) {
		return ""
	}
	if s.Ask.named() {
		return ReasonMemory
	}
	return shrink(s, d, MemoryBound(p, s, d.To), ReasonMemory)
}

// MemoryBound is the highest limit, of at most to, that can be paid for: the table's worst case must fit its share of RAM
// and what is available now.
func MemoryBound(p Policy, s Situation, to uint64) uint64 {
	if memoryFits(p, s, to) {
		return to
	}
	fits, over := uint64(0), to
	for over-fits > 1 {
		if mid := fits + (over-fits)/2; memoryFits(p, s, mid) {
			fits = mid
		} else {
			over = mid
		}
	}
	return fits
}

// memoryFits says whether the limit to can be paid for. Where the memory is not known, nothing can.
func memoryFits(p Policy, s Situation, to uint64) bool {
	m := s.Memory
	if m.EntryBytes == 0 {
		return false
	}
	entry := float64(m.EntryBytes) // in floating point, since products of what was read may overflow
	hash := bucketBytes * float64(max(s.Limits.Buckets, s.Chains.PresizedBuckets(p.Ceiling)))
	bytes := float64(WorstEntries(to, s.OtherPeaks))*entry + hash
	used := float64(s.Entries) * entry
	return bytes <= p.MemoryShare*float64(m.Total) && bytes <= float64(m.Available)+used
}

// WorstEntries is how many entries all namespaces together may come to hold at a limit: the one that is pressed fills
// up to it, each other one to twice its peak.
func WorstEntries(limit uint64, otherPeaks []uint64) uint64 {
	sum := limit
	for _, peak := range otherPeaks {
		sum += min(limit, 2*min(peak, limit))
	}
	return sum
}

// guardChain keeps the limit within what the hash can carry, or asks for a larger hash where its price is bearable. It also
// keeps a step from being the last one: where a resize would take longer than max_stall once the table has filled up to the
// new limit, the hash is resized now where refusals ask, and else the step is made smaller, or waits for them.
func guardChain(p Policy, s Situation, d *Decision) Reason {
	fits := min(s.Chains.Entries()*s.Limits.Buckets, bearable(p, s))
	if !s.Chains.Limited() || d.To <= fits {
		return ""
	}
	if mayResize(p, s) && stallBearable(p, s) {
		d.Buckets = max(s.Chains.PresizedBuckets(max(p.Ceiling, d.To)), s.Limits.Buckets)
		return ""
	}
	if s.Ask.named() {
		return ReasonChainLimit
	}
	return shrink(s, d, fits, ReasonChainLimit)
}

// mayResize says whether a resize is allowed at all, whatever it costs.
func mayResize(p Policy, s Situation) bool {
	return p.Buckets == BucketsPresize && s.Limits.BucketsWritable && !justFailed(s)
}

// stallBearable says whether the hash may be resized now: always when the stall is short, once an incident up to
// max_stall while connections are refused, since a short stall beats an outage.
func stallBearable(p Policy, s Situation) bool {
	stall := PredictedStall(s.moved(), s.StallPerEntry)
	return stall <= QuietStall || s.Ask.Reason == ReasonFull && !s.Ask.Resized && stall <= p.MaxStall
}

// bearable is the highest limit up to which the table may fill and its hash still be resized within max_stall when
// refusals ask, with a quarter to spare for what other namespaces come to hold until then. It bounds nothing where no such
// resize is needed to reach the ceiling, or none is to be had as it is, or a person names the limit.
func bearable(p Policy, s Situation) uint64 {
	moved := movedWithin(max(p.MaxStall, QuietStall), s.StallPerEntry)
	if s.Ask.named() || p.Ceiling <= s.Chains.Entries()*s.Limits.Buckets || !mayResize(p, s) || s.Ask.Resized || s.moved() > moved {
		return MaxLimit
	}
	others := s.moved() - min(s.moved(), s.Ask.Reading.Count)
	spared := moved / bearableSpare * (bearableSpare - 1)
	return spared - min(others, spared)
}

// justFailed tells whether the kernel refused a resize so short a while ago that a step had better do without: a smaller
// one helps, another failure does not. What an operator or a boot asks for is tried in any case.
func justFailed(s Situation) bool {
	return !s.Ask.named() && within(s.Now, s.ResizeFailedAt, stepWithout)
}

// PredictedStall is how long a resize of the hash would stop all inserts, at that much an entry; zero: the usual.
func PredictedStall(entries uint64, perEntry time.Duration) time.Duration {
	if perEntry <= 0 {
		perEntry = StallPerEntry
	}
	if entries > uint64(time.Hour/perEntry) {
		return time.Hour
	}
	return time.Duration(entries) * perEntry
}

// movedWithin is how many entries a resize moves in a time, at that much an entry; zero: the usual.
func movedWithin(span, perEntry time.Duration) uint64 {
	if perEntry <= 0 {
		perEntry = StallPerEntry
	}
	return uint64(max(span, 0) / perEntry)
}

// shrink makes the step end at a clean figure of at most to, or refuses it for the reason where less than a sixteenth would
// be gained.
func shrink(s Situation, d *Decision, to uint64, reason Reason) Reason {
	least := d.From + max(d.From/leastGain, 1)
	if to < least {
		return reason
	}
	if s.Ask.Demand <= to {
		least = max(least, s.Ask.Demand)
	}
	d.To = cleanBelow(to, least)
	return ""
}

// cleanBelow rounds a number down to one that people can read, of as many digits as it takes not to fall below least.
func cleanBelow(n, least uint64) uint64 {
	for unit := cleanUnit(float64(n)); unit > 1; unit /= 10 {
		if c := n / uint64(unit) * uint64(unit); c >= least {
			return c
		}
	}
	return n
}
