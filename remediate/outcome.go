package remediate

import (
	"cmp"
	"slices"
	"time"
)

// Asks returns what asks for a step at now, the most urgent first: refusals before what is foreseen, then the fuller
// table.
func (t *Tracker) Asks(now time.Time) []Ask {
	var asks []Ask
	for _, tb := range t.tables {
		o := tb.ongoing
		if o == nil || !o.Verified || tb.last.Blind || !fresh(now, tb.last.At) || tb.last.Max != t.limit {
			continue // a reading under another limit than the one in force asks for nothing
		}
		ask := Ask{
			IncidentID: o.ID, Reading: tb.last, TimeToFull: tb.trend.lasts, Confidence: tb.trend.confidence(),
			Risen: tb.trend.risen(), Surge: tb.trend.surge, Demand: tb.trend.demand(t.cfg.fastest()),
			LastStep: o.StepAt, Resized: o.Resized, Ineffective: o.Outcome == OutcomeIneffective,
		}
		switch {
		case fresh(now, tb.refusedAt) && tb.counted.Max == t.limit && full(tb.counted, t.limit):
			ask.Reason, ask.Refused, ask.Reading = ReasonFull, tb.refused, tb.counted
		case tb.last.Fill() >= t.cfg.Pressure:
			ask.Reason = ReasonPressure
		case tb.surging():
			ask.Reason = ReasonForecast
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

// fresh tells whether what was seen at that time may be acted on.
func fresh(now, at time.Time) bool {
	age := now.Sub(at)
	return age >= 0 && age < MaxReadingAge
}

func urgency(a Ask) int {
	if a.Reason == ReasonFull {
		return 1
	}
	return 0
}

// Peaks returns the highest count of each namespace but one in the last hour or two, as far as it was watched; of those that
// held something then.
func (t *Tracker) Peaks(except uint64) []uint64 {
	var peaks []uint64
	for inode, tb := range t.tables {
		if peak := tb.peak(); inode != except && peak > 0 {
			peaks = append(peaks, peak)
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
	return tb.trend.rate, tb.trend.lasts
}

// StepTimes are the times of the automatic steps of the last hour.
func (t *Tracker) StepTimes() []time.Time { return slices.Clone(t.st.StepTimes) }

// Refused takes a decision not to step. It is published once per incident and reason.
func (t *Tracker) Refused(now time.Time, p Policy, d Decision) []Event {
	if tb := t.tables[d.NetNS.Inode]; tb != nil && d.Reason.lasts(d.Trigger) {
		tb.barredAt = now
	}
	o := t.incident(d.IncidentID)
	once, why := t.refusal(now, p, d)
	if o == nil || d.Reason == ReasonNoPressure || !o.say(once) {
		return nil
	}
	t.emit(now, EventStepRefused, Step{
		IncidentID: d.IncidentID, At: now, From: d.From, To: d.To, Ceiling: p.Ceiling, Reason: d.Reason,
		Trigger: d.Trigger, Mode: p.Mode, NetNS: d.NetNS, Error: why,
	})
	return t.take()
}

// Barred tells whether a step for a namespace was refused within the last second, for a reason that lasts: readings in
// quick succession would find the same.
func (t *Tracker) Barred(now time.Time, inode uint64) bool {
	tb := t.tables[inode]
	return tb != nil && within(now, tb.barredAt, MaxReadingAge)
}

// Failed takes a step that could not be written, or that could not be taken back. It is published once per incident and
// error, each of the two.
func (t *Tracker) Failed(now time.Time, s Step) []Event {
	once := s.Error
	if s.To < s.From {
		once = "undo: " + once
	}
	if o := t.incident(s.IncidentID); o != nil && !o.say(once) {
		return nil
	}
	t.emit(now, EventStepFailed, s)
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
