package remediate

import "time"

// Bound tells that at a time no namespace held more than so many entries, but for those that were read since that time:
// which grows faster than its own last reading shows is known from that.
func (t *Tracker) Bound(at time.Time, entries uint64) { t.bound = Reading{At: at, Count: entries} }

// takeBound has a table's trend know what it held at most before a reading, where it holds far more at that.
func (t *Tracker) takeBound(tb *table, r Reading) {
	b := t.bound
	if tb.last.At.Before(b.At) && b.At.Before(r.At) && b.Count+r.Max/RateShare < r.Count {
		b.NetNS, b.Max = r.NetNS, r.Max
		tb.trend.take(b, &t.cfg)
	}
}
