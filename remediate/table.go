package remediate

import "time"

const (
	// bornFor is how long after a namespace was found new its counters' first values count as what happened since:
	// later nobody knows when in between.
	bornFor = 10 * time.Second
	// calmWindow is over what time drops at a table with room are counted.
	calmWindow = 10 * time.Second
	// peakSpan is how long the highest count of a namespace is kept at least; at most twice as long.
	peakSpan = time.Hour
)

// table is one namespace's table as the tracker knows it.
type table struct {
	ns   NetNS
	last Reading // newest reading of any kind
	// counted is the newest reading that had the counters, valid where hasCounted; resumed tells that it is from
	// before a restart. high is the highest fill since.
	counted    Reading
	hasCounted bool
	resumed    bool
	high       float64
	// born is when the namespace was found new, so that its counters began at zero; zero: it was there before.
	born time.Time
	// refused is by how much the counters of refusals last rose at a full table, refusedAt when that was.
	refused   uint64
	refusedAt time.Time
	// refusedRate is how many were refused a second at the worst of the last refusals in a row; zero: not known.
	refusedRate float64
	// barredAt is when a step was last refused for a reason that lasts.
	barredAt time.Time
	// calm is how many drops a second the table shows while it has room, which have other causes; calmFrom is where
	// its measurement began.
	calm     float64
	calmFrom Reading
	// credit is how many drops may come now without counting as refusals; spared is how many last did not, sparedAt when.
	credit   float64
	spared   uint64
	sparedAt time.Time
	// peaks are the highest counts of the present span of time, which began at peaksFrom, and of the one before.
	peaks     [2]uint64
	peaksFrom time.Time
	trend     trend
	ongoing   *ongoing
}

// growth is what a reading shows against the one before it.
type growth struct {
	drops, earlyDrops, chainDrops, insertFailed uint64
	// refused is what of the drops and early drops is of a full table; refusing tells that there is some.
	refused  uint64
	refusing bool
}

// resumedTable is the table of an incident that was open before a restart, so that what the counters rose by
// meanwhile is booked to it.
func resumedTable(o *ongoing) *table {
	return &table{
		ns: o.NetNS, ongoing: o, peaks: [2]uint64{o.PeakCount}, hasCounted: o.Counted, resumed: o.Counted,
		counted: Reading{NetNS: o.NetNS, Count: o.Count, Max: o.Max, Counters: o.Counters, CountersOK: true},
	}
}

// take books a reading and says what it shows.
func (tb *table) take(r Reading, cfg *TrackerConfig) growth {
	tb.trend.take(r, cfg)
	tb.notePeak(r)
	tb.last = r
	tb.high = max(tb.high, r.Fill())
	if !r.CountersOK {
		return growth{}
	}
	prev, had, high, resumed := tb.counted, tb.hasCounted, tb.high, tb.resumed
	tb.counted, tb.hasCounted, tb.high, tb.resumed = r, true, r.Fill(), false
	if !had && !tb.born.IsZero() && r.At.Sub(tb.born) < bornFor {
		prev, had = Reading{}, true
	}
	if !had || r.Counters.Drop < prev.Counters.Drop || r.Counters.EarlyDrop < prev.Counters.EarlyDrop {
		tb.calmFrom = Reading{}
		return growth{}
	}
	d := r.Counters.Since(prev.Counters)
	g := growth{drops: d.Drop, earlyDrops: d.EarlyDrop, chainDrops: d.ChainLength, insertFailed: d.InsertFailed}
	atFull := high >= FullShare || full(prev, prev.Max) || full(r, prev.Max)
	room := high < 1 && prev.Count < prev.Max && r.Count < prev.Max
	if resumed && tb.ongoing != nil && tb.ongoing.Severity == SeverityCritical {
		atFull, room = true, false // it was refusing before the restart, and nobody looked meanwhile
	}
	lost := g.drops
	if room { // a race for a place is lost on a healthy host too
		lost -= min(lost, d.lostRaces())
	}
	if spared := tb.spare(r, prev, lost, atFull && room); atFull {
		g.refused = lost - spared + g.earlyDrops
	}
	if g.refused > 0 {
		tb.noteRefusals(r, prev, g)
		g.refusing = true
	}
	tb.measureCalm(r, atFull)
	return g
}

// noteRefusals books refusals at a full table. Those within SettleAfter of each other are one row.
func (tb *table) noteRefusals(r, prev Reading, g growth) {
	if tb.refusedAt.IsZero() || r.At.Sub(tb.refusedAt) >= SettleAfter {
		tb.refusedRate = 0
	}
	tb.refused, tb.refusedAt = g.refused, r.At
	if dt := r.At.Sub(prev.At); dt > 0 && !prev.At.IsZero() {
		tb.refusedRate = max(tb.refusedRate, float64(g.refused-g.earlyDrops)/dt.Seconds())
	}
}

// refusedRateAt is how many were refused a second when a step was taken at that time, or since; zero: none, or not known.
func (tb *table) refusedRateAt(at time.Time) float64 {
	if tb.refusedAt.IsZero() || at.Sub(tb.refusedAt) >= SettleAfter {
		return 0
	}
	return tb.refusedRate
}

// notePeak keeps the highest count of the last one to two peakSpans: what a namespace held once must not keep memory from
// another one for ever.
func (tb *table) notePeak(r Reading) {
	switch age := r.At.Sub(tb.peaksFrom); {
	case age >= peakSpan:
		tb.peaks, tb.peaksFrom = [2]uint64{r.Count, tb.peaks[0]}, r.At
	case age < 0: // the clock was set back
		tb.peaksFrom = r.At
	}
	tb.peaks[0] = max(tb.peaks[0], r.Count)
}

// peak is the highest count of late.
func (tb *table) peak() uint64 { return max(tb.peaks[0], tb.peaks[1]) }

// measureCalm keeps the rate of drops at a table with room, over calmWindow.
func (tb *table) measureCalm(r Reading, atFull bool) {
	dt := r.At.Sub(tb.calmFrom.At)
	switch {
	case atFull:
		tb.calmFrom = Reading{}
	case tb.calmFrom.At.IsZero() || dt < 0:
		tb.calmFrom = r
	case dt >= calmWindow:
		d := r.Counters.Since(tb.calmFrom.Counters)
		tb.calm = float64(d.Drop-min(d.Drop, d.lostRaces())) / dt.Seconds()
		tb.calmFrom = r
	}
}

// surging tells whether the table could be full before a step that is not taken now.
func (tb *table) surging() bool {
	return tb.trend.surge > 0 && float64(tb.last.Free()) <= tb.trend.surge
}

// full tells whether the count stands at a limit, as near as entries that expire meanwhile allow.
func full(r Reading, limit uint64) bool {
	return limit > 0 && float64(r.Count) >= FullShare*float64(limit)
}
