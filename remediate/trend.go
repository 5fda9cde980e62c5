package remediate

import (
	"math"
	"time"
)

const (
	// rateWindow is over what time the growth of a table is measured when it is slow.
	rateWindow = 2 * time.Second
	// RateShare is the part of the limit (1/64) by which a table may grow before its growth is measured at once.
	RateShare = 64
	// burstWindow is over what time the speed of a burst is measured.
	burstWindow = 100 * time.Millisecond
	// StepLead is how long before a table is full, at the fastest growth seen, a step is due: some readings and the time
	// for which busy processors may keep the agent waiting.
	StepLead = 100 * time.Millisecond
	// leadReadings is the same in times between two readings, where these follow each other faster.
	leadReadings = 3
	// demandLeast and demandMost bound how far ahead demand is foreseen: with less than the first a load that goes on
	// takes a step a second, of an hour's twelve. One that is faster than it may be does not last: a second of it would be
	// several times what it needs.
	demandLeast = time.Second
	demandMost  = time.Minute
	// riseEnds is the part (1/2) of a rise that must be lost again for it to be over.
	riseEnds = 2
)

// trend is how the count of one table has been moving. All of it is net growth: what expires or is deleted is taken off
// already, since the kernel counts no arrivals of their own.
type trend struct {
	// rate is the growth in entries per second, over rateWindow where it is slow and at once where it is fast; anchor is
	// where its measurement began.
	rate   float64
	anchor Reading
	// before is the rate of the slow window before this one, and slowing how far apart the two are in time; zero: there
	// are no two.
	before  float64
	slowing time.Duration
	// last is the newest reading, burst where the measurement of burstRate began.
	last, burst Reading
	burstRate   float64
	// surge is how many entries may come before a step would be too late, at the fastest growth seen just now.
	surge float64
	// low is the count where the present rise began, high the highest since.
	low, high uint64
	// lows are the lowest counts of the present span of time, which began at lowsFrom, and of the one before.
	lows     [2]uint64
	lowsFrom time.Time
	// lasts is how long the table lasts at its present growth, worked out once a reading since several ask for it; zero:
	// it does not grow, or stops growing before it is full.
	lasts time.Duration
}

// fastest is the growth beyond which no more counts.
func (c *TrackerConfig) fastest() float64 {
	if c.MaxInsertRate > 0 {
		return c.MaxInsertRate
	}
	return math.Inf(1)
}

// take books a reading.
func (t *trend) take(r Reading, cfg *TrackerConfig) {
	if t.last.At.IsZero() || r.At.Before(t.last.At) { // the first, or the clock was set back
		*t = trend{anchor: r, last: r, burst: r}
		t.beginRise()
		return
	}
	t.measureBurst(r, cfg.fastest())
	t.measureRate(r)
	t.measureRise(r)
	t.measureLows(r, cfg.Horizon)
	t.last = r
	t.lasts = t.timeToFull()
}

// measureBurst works out the surge: what came since the last reading, or in the last tenth of a second, may come again
// as fast; of the latter no more than at the fastest, since what is faster is read as much oftener.
func (t *trend) measureBurst(r Reading, fastest float64) {
	if dt := r.At.Sub(t.burst.At); dt >= burstWindow {
		t.burstRate, t.burst = grown(t.burst, r)/dt.Seconds(), r
	}
	t.surge = min(max(t.burstRate, 0), fastest) * StepLead.Seconds()
	if dt := r.At.Sub(t.last.At); dt > 0 {
		lead := min(leadReadings, float64(StepLead)/float64(dt)) // in times between two readings
		t.surge = max(t.surge, grown(t.last, r)*lead)
	}
}

// measureRate keeps the growth of the table: over two seconds when it is slow, at once when it is fast.
func (t *trend) measureRate(r Reading) {
	dt, rise := r.At.Sub(t.anchor.At), grown(t.anchor, r)
	fast := math.Abs(rise) > float64(r.Max/RateShare)
	if dt == 0 || dt < rateWindow && !fast {
		return
	}
	t.before, t.slowing = t.rate, 0
	if dt >= rateWindow {
		t.slowing = dt
	}
	t.rate, t.anchor = rise/dt.Seconds(), r
}

// measureRise notes from where the table has been rising. A rise is over when half of it is lost again.
func (t *trend) measureRise(r Reading) {
	t.high = max(t.high, r.Count)
	if r.Count < t.low || t.high-r.Count > (t.high-t.low)/riseEnds {
		t.low, t.high = r.Count, r.Count
	}
}

// measureLows keeps the lowest count of one to two horizons.
func (t *trend) measureLows(r Reading, horizon time.Duration) {
	if r.At.Sub(t.lowsFrom) >= horizon {
		t.lows, t.lowsFrom = [2]uint64{r.Count, t.lows[0]}, r.At
	}
	t.lows[0] = min(t.lows[0], r.Count)
}

// beginRise has what comes from now on be a rise of its own.
func (t *trend) beginRise() {
	n := t.last.Count
	t.low, t.high = n, n
	t.lows, t.lowsFrom = [2]uint64{n, n}, t.last.At
}

func grown(from, to Reading) float64 { return float64(to.Count) - float64(from.Count) }

// timeToFull works out lasts.
func (t *trend) timeToFull() time.Duration {
	free := float64(t.last.Free())
	left := free
	if settles := t.settling(); settles > 0 {
		if free >= t.rate*settles {
			return 0
		}
		left = -t.rate * settles * math.Log1p(-free/(t.rate*settles))
	}
	return timeToFull(t.rate, left)
}

// settling is the time constant, in seconds, of a table in which entries expire as arrivals go on: its growth falls by
// 1/e in that time. Zero: its growth does not fall.
func (t *trend) settling() float64 {
	if t.slowing == 0 || t.rate <= 0 || t.rate >= t.before {
		return 0
	}
	return t.slowing.Seconds() / math.Log(t.before/t.rate)
}

// confidence says how well the forecast of a full table is founded: the part of the way from where the rise began, but at
// most one to two horizons ago, to the limit that is behind it already, 0 to 1. What came before says nothing: a table
// that has come far up and stands there has risen by no more than its noise since, and one that will be full within the
// horizon at its present speed has come as far in as much time.
func (t *trend) confidence() float64 {
	return t.behind(max(t.low, min(t.lows[0], t.lows[1])))
}

// risen is the same of the whole rise, however slow.
func (t *trend) risen() float64 { return t.behind(t.low) }

// behind is the part of the way from a count to the limit that is behind already.
func (t *trend) behind(from uint64) float64 {
	rise := float64(t.last.Count - min(from, t.last.Count))
	if rise == 0 {
		return 0
	}
	return rise / (rise + float64(t.last.Free()))
}

// demand is how many entries the table will hold if it goes on rising as it did: as much again as it has risen, at least
// for demandLeast, of which growth beyond fastest does not count, and at most for a minute. Zero: it does not grow.
func (t *trend) demand(fastest float64) uint64 {
	began := max(t.last.At.Sub(t.burst.At), burstWindow)
	rate := max(t.burstRate, grown(t.burst, t.last)/began.Seconds())
	if rate <= 0 {
		rate = t.rate
	}
	if rate <= 0 {
		return 0
	}
	rise := float64(t.last.Count - min(t.low, t.last.Count))
	more := min(max(rise, min(rate, fastest)*demandLeast.Seconds()), rate*demandMost.Seconds())
	return t.last.Count + uint64(more)
}

// timeToFull is how long so many free entries last at a growth; zero: it does not grow, or they last for more than a day.
func timeToFull(rate, free float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	seconds := free / rate
	if seconds > (24 * time.Hour).Seconds() {
		return 0
	}
	return max(time.Duration(seconds*float64(time.Second)), 1)
}
