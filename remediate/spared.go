package remediate

import "time"

// spare returns how many of the packets that a table with room has dropped since the reading before are what it always
// drops, for other causes than a full table. They come unevenly, so what did not come counts for later, for a second at
// most. A kernel's line tells when some of them were refusals after all, see [Tracker.Match].
func (tb *table) spare(r, prev Reading, lost uint64, room bool) uint64 {
	usual := calmFactor * tb.calm
	dt := max(r.At.Sub(prev.At), 0)
	if usual == 0 || prev.At.IsZero() {
		tb.credit = 0
		return 0
	}
	tb.credit = min(tb.credit+usual*dt.Seconds(), max(usual, 1))
	if !room {
		return 0
	}
	spared := min(lost, uint64(tb.credit))
	tb.credit -= float64(spared)
	if spared > 0 {
		tb.spared, tb.sparedAt = spared, r.At
	}
	return spared
}

// refusedAfterAll takes a record of the kernel's that was written when drops at a nearly full table were taken for what
// it always drops. It tells whether there were any.
func (t *Tracker) refusedAfterAll(now time.Time, m Match, at time.Time) bool {
	tb := t.sparing(m, at)
	if tb == nil {
		return false
	}
	o := tb.ongoing
	opens := o == nil
	if opens {
		o = t.open(now, tb, SeverityCritical)
		o.Drops, o.fresh = tb.spared, false
	}
	tb.refused, tb.refusedAt, tb.spared = tb.spared, now, 0
	o.Severity, o.Verified, o.RefusedAt, o.TroubleAt = SeverityCritical, true, now, now
	t.book(now, o, m, at)
	if opens {
		o.Dirty = false
		t.emit(now, EventIncidentOpened, o.snapshot())
	} else {
		t.update(now, o)
	}
	return true
}

// sparing is the table that a record may be of, of which drops were spared when it was written; nil: there is none.
func (t *Tracker) sparing(m Match, at time.Time) (best *table) {
	for _, tb := range t.tables {
		if tb.spared == 0 || !within(tb.sparedAt, at, recordSlack) || m.NetNS != 0 && m.NetNS != tb.ns.Inode {
			continue
		}
		if best == nil || tb.ns.Init || !best.ns.Init && tb.last.Fill() > best.last.Fill() {
			best = tb
		}
	}
	return best
}
