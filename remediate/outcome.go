package remediate

import (
	"cmp"
	"slices"
	"time"
)

const (
	// SettleAfter is how long no connection may be refused before a step counts as effective.
	SettleAfter = 2 * time.Second
	// roomShare is the share of the limit below which a table has room, so that refusals have another cause.
	roomShare = 0.90
	// askAge is how old the evidence of an ask may be.
	askAge = MaxReadingAge
)

// Asks returns what asks for a step at now, the most urgent first: refusals before pressure, then the fuller table.
func (t *Tracker) Asks(now time.Time) []Ask {
	var asks []Ask
	for _, tb := range t.tables {
		o := tb.ongoing
		if o == nil || !o.Verified || now.Sub(tb.last.At) >= askAge {
			continue
		}
		ask := Ask{
			IncidentID: o.ID, Reading: tb.last, TimeToFull: timeToFull(tb.rate, tb.last.Free()),
			LastStep: o.StepAt, Resized: o.Resized,
		}
		switch {
		case !tb.refusedAt.IsZero() && now.Sub(tb.refusedAt) < askAge && full(tb.counted, tb.last.Max):
			ask.Reason, ask.Refused, ask.Reading = ReasonFull, max(tb.refused, 1), tb.counted
		case tb.last.Fill() >= t.cfg.Pressure:
			ask.Reason = ReasonPressure
		default:
			continue
		}
		asks = append(asks, ask)
	}
	slices.SortFunc(asks, func(a, b Ask) int {
		return cmp.Or(urgency(b)-urgency(a), cmp.Compare(b.Reading.Count, a.Reading.Count),
			cmp.Compare(a.Reading.NetNS.Inode, b.Reading.NetNS.Inode))
	})
	return asks
}

func urgency(a Ask) int {
	if a.Reason == ReasonFull {
		return 1
	}
	return 0
}

// Peaks returns the highest count seen of each namespace but one.
func (t *Tracker) Peaks(except uint64) []uint64 {
	var peaks []uint64
	for inode, tb := range t.tables {
		if inode != except && tb.peak > 0 {
			peaks = append(peaks, tb.peak)
		}
	}
	slices.Sort(peaks)
	return peaks
}

// Growth returns a namespace's net growth in entries per second, and how long its table lasts at that; zero: it does
// not grow.
func (t *Tracker) Growth(inode uint64) (rate float64, timeToFullAt time.Duration) {
	tb := t.tables[inode]
	if tb == nil {
		return 0, 0
	}
	return tb.rate, timeToFull(tb.rate, tb.last.Free())
}

// ForeignAt is when somebody else last changed the limit; zero: never seen.
func (t *Tracker) ForeignAt() time.Time { return t.st.ForeignAt }

// StepTimes are the times of the automatic steps of the last hour.
func (t *Tracker) StepTimes() []time.Time { return t.st.StepTimes }

// Refused takes a decision not to step. It is published once per incident and reason.
func (t *Tracker) Refused(now time.Time, p Policy, d Decision) []Event {
	o := t.incident(d.IncidentID)
	if o == nil || d.Reason == ReasonNoPressure || o.Said[string(d.Reason)] {
		return nil
	}
	o.Said[string(d.Reason)] = true
	t.emit(now, EventStepRefused, Step{
		IncidentID: d.IncidentID, At: now, From: d.From, To: d.To, Ceiling: p.Ceiling, Reason: d.Reason,
		Trigger: d.Trigger, Mode: p.Mode, NetNS: d.NetNS,
	})
	return t.take()
}

// Applied takes a step that was written and read back. Its outcome is awaited.
func (t *Tracker) Applied(now time.Time, s Step, resized bool) []Event {
	t.limit = s.To
	pending := s
	t.st.Pending, t.settled = &pending, false
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

// Failed takes a step that could not be written. It is published once per incident and error.
func (t *Tracker) Failed(now time.Time, s Step) []Event {
	if o := t.incident(s.IncidentID); o != nil {
		if o.Said[s.Error] {
			return nil
		}
		o.Said[s.Error] = true
	}
	t.emit(now, EventStepFailed, s)
	return t.take()
}

// Settling tells whether a step awaits its outcome, so that every table must be read with its counters.
func (t *Tracker) Settling() bool { return t.st.Pending != nil && !t.settled }

// Settle returns the pending step once its outcome is known: two seconds without a refusal anywhere, or still refusing
// then although there is room. A table that filled up again says nothing yet. It returns a step once; until the step is
// confirmed or reverted it stays in the state, so that a restart in between settles it again.
func (t *Tracker) Settle(now time.Time) (Step, bool) {
	s := t.st.Pending
	if s == nil || t.settled || now.Sub(s.At) < SettleAfter {
		return Step{}, false
	}
	done := *s
	for _, tb := range t.tables {
		if tb.last.Blind || !tb.hasCounted {
			continue
		}
		if !tb.counted.At.After(s.At) && !tb.counted.At.IsZero() {
			return Step{}, false
		}
		if tb.refusedAt.After(now.Add(-SettleAfter)) {
			return Step{}, false
		}
		if tb.ns.Inode == s.NetNS.Inode && tb.dropAt.After(now.Add(-SettleAfter)) && tb.last.Fill() < roomShare {
			done.Outcome = OutcomeIneffective
		}
	}
	if done.Outcome == "" {
		done.Outcome = OutcomeEffective
	}
	t.settled = true
	return done, true
}

// Confirmed takes a settled step, with the file it was persisted in.
func (t *Tracker) Confirmed(now time.Time, s Step) []Event {
	if t.st.Pending != nil && t.st.Pending.ID == s.ID {
		t.st.Pending, t.settled = nil, false
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
	t.limit = s.To
	t.st.Pending, t.settled = nil, false
	t.emit(now, EventStepReverted, s)
	return t.take()
}

// incident returns the open incident of that id, or nil.
func (t *Tracker) incident(id string) *ongoing {
	for _, o := range t.st.Open {
		if id != "" && o.ID == id {
			return o
		}
	}
	return nil
}
