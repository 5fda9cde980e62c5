package remediate

import (
	"fmt"
	"slices"
	"time"
)

const (
	// SettleAfter is how long no connection may be refused before a step counts as effective.
	SettleAfter = 2 * time.Second
	// settlePatience is how long after a step a namespace that is not read keeps its outcome open.
	settlePatience = 10 * time.Second
	// leastWatched is over what time drops after a step are counted at least.
	leastWatched = time.Second
	// roomShare is the share of the limit below which a table has room, so that refusals have another cause.
	roomShare = 0.90
	// calmFactor and calmDrops say how many drops a second at a table with room have nothing to do with the step:
	// the counter also rises for other verdicts.
	calmFactor = 2
	calmDrops  = 10
	// helped is the part (a tenth) of the refusals before a step that may go on after one that helped.
	helped = 10
)

// Applied takes a step that was written and read back. Its outcome is awaited. It takes the place of a step that was
// awaited until now: the outcome of the last of a chain stands for all of it.
func (t *Tracker) Applied(now time.Time, s Step, resized bool) []Event {
	t.noteReraise(now, s)
	t.setLimit(s.To, now)
	pending := s
	if pending.At.After(now) {
		pending.At = now // the clock was set back while the program was away
	}
	t.st.Pending, t.mark, t.settled = &pending, Reading{}, false
	if s.Reason != ReasonManual && s.Reason != ReasonBoot {
		recent := slices.DeleteFunc(t.st.StepTimes, func(at time.Time) bool { return now.Sub(at) >= time.Hour })
		t.st.StepTimes = append(recent, now)
	}
	t.emit(now, EventStepApplied, s)
	if o := t.incident(s.IncidentID); o != nil {
		o.StepAt, o.Resized, o.Max, o.Dirty = now, o.Resized || resized, s.To, true
	}
	return t.take()
}

// markPending keeps the first counters after the pending step: what they rise by from there on it did not prevent. What
// is refused because the table filled up to the new limit too says nothing about the step, so the mark moves past it.
func (t *Tracker) markPending(r Reading, seen growth) {
	p := t.st.Pending
	if p == nil || !r.CountersOK || r.NetNS.Inode != p.NetNS.Inode || r.At.Before(p.At) {
		return
	}
	if t.mark.At.IsZero() || seen.refusing {
		t.mark = r
	}
}

// Settling tells whether a step awaits its outcome, so that every table must be read with its counters.
func (t *Tracker) Settling() bool { return t.st.Pending != nil && !t.settled }

// Settle returns the pending step, once, when its outcome is known: two seconds without a refusal anywhere, or still
// dropping then although there is room. A table that filled up again says nothing yet. The step stays in the state
// until [Tracker.Confirmed] or [Tracker.Reverted] books it, so that after a crash in between it settles again. A step
// that another one follows before its outcome is known never settles. Nor does one that somebody else's change of the
// limit overtakes: [Tracker.Read] returns its event step.confirmed, with an empty outcome and an error.
func (t *Tracker) Settle(now time.Time) (Step, bool) {
	s := t.st.Pending
	if !t.Settling() || now.Sub(s.At) < SettleAfter {
		return Step{}, false
	}
	heard := false
	for _, tb := range t.tables {
		switch own := tb.ns.Inode == s.NetNS.Inode; {
		case tb.last.Blind:
		case !own && tb.last.At.IsZero() && !tb.born.IsZero(): // found, but never readable
		case !tb.refusedAt.IsZero() && now.Sub(tb.refusedAt) < SettleAfter:
			return Step{}, false
		case !tb.counted.At.Before(s.At.Add(SettleAfter)):
			heard = true
			if own && tb.counted.At.Sub(t.mark.At) < leastWatched {
				return Step{}, false
			}
		case own || now.Sub(s.At) < settlePatience:
			return Step{}, false
		}
	}
	if !heard {
		return Step{}, false
	}
	done := *s
	done.Outcome = OutcomeEffective
	if tb := t.tables[s.NetNS.Inode]; tb != nil && t.stillDropping(tb) {
		done.Outcome, done.Error = OutcomeIneffective, t.otherCauses(tb)
	}
	t.settled = true
	return done, true
}

// stillDropping tells whether a table drops much more since the step than it always does, although it has room. What
// long hash chains refuse has that one cause, whatever room there is and whatever was refused before.
func (t *Tracker) stillDropping(tb *table) bool {
	from, to := t.mark.Counters.Drop, tb.counted.Counters.Drop
	if to < from {
		return false
	}
	d := tb.counted.Counters.Since(t.mark.Counters)
	seconds := tb.counted.At.Sub(t.mark.At).Seconds()
	if float64(d.ChainLength) > calmDrops*seconds {
		return true
	}
	if tb.counted.Fill() >= roomShare {
		return false
	}
	lost := to - from
	lost -= min(lost, d.lostRaces()) // happens on a healthy host too
	rate := float64(lost+d.ChainLength) / seconds
	return rate > max(calmFactor*tb.calm+calmDrops, tb.refusedRateAt(t.st.Pending.At)/helped)
}

// otherCauses says where else to look for what a table with room refuses.
func (t *Tracker) otherCauses(tb *table) string {
	d := tb.counted.Counters.Since(t.mark.Counters)
	text := fmt.Sprintf("%d packets were dropped since the step", d.Drop+d.ChainLength)
	if tb.counted.Fill() < roomShare {
		text += " although there is room"
	}
	if d.ChainLength > 0 {
		text += fmt.Sprintf("; %d of them on hash chains too long: raise nf_conntrack_buckets", d.ChainLength)
	}
	if lost := d.lostRaces(); lost > 0 {
		text += fmt.Sprintf("; %d lost a race for their place (insert_failed)", lost)
	}
	full := 0
	for _, other := range t.tables {
		if other != tb && other.last.Fill() >= FullShare {
			full++
		}
	}
	if full > 0 {
		text += fmt.Sprintf("; %d other namespaces are at the limit", full)
	}
	if d.Drop > 0 {
		text += "; the counter drop also rises for packets that conntrack finds invalid: " +
			"sysctl net.netfilter.nf_conntrack_log_invalid=255 logs them"
	}
	return text
}

// giveUp books the pending step without an outcome, and why.
func (t *Tracker) giveUp(now time.Time, why string) {
	s := *t.st.Pending
	t.st.Pending, t.mark = nil, Reading{}
	t.abandon(now, s, why)
}

// abandon tells that a step's outcome will never be known, and why.
func (t *Tracker) abandon(now time.Time, s Step, why string) {
	s.Error = why
	t.emit(now, EventStepConfirmed, s)
	if o := t.incident(s.IncidentID); o != nil {
		o.Outcome, o.Dirty = "", true
	}
}

// Confirmed takes a settled step, with the file it was persisted in.
func (t *Tracker) Confirmed(now time.Time, s Step) []Event {
	if p := t.st.Pending; p != nil && p.ID == s.ID {
		t.st.Pending, t.settled = nil, false
	}
	if p := t.orphan; p != nil && p.ID == s.ID {
		t.orphan = nil
	}
	t.emit(now, EventStepConfirmed, s)
	if o := t.incident(s.IncidentID); o != nil {
		o.Outcome = s.Outcome
		t.update(now, o)
	}
	return t.take()
}

// Reverted takes a step back that was written and read back.
func (t *Tracker) Reverted(now time.Time, s Step) []Event {
	t.setLimit(s.To, now)
	t.st.Pending, t.settled = nil, false
	for _, tb := range t.tables {
		tb.trend.beginRise()
	}
	t.forgetReraise(s.To)
	if s.Reason == ReasonDecay {
		t.st.Foreign.Set, t.st.Foreign.Lowered = 0, 0 // the limit is ours, even where it is a value that somebody had set
	}
	t.emit(now, EventStepReverted, s)
	return t.take()
}
