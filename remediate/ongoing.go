package remediate

import (
	"maps"
	"slices"
	"time"
)

// ongoing is an open incident with what is needed to go on with it, also after a restart.
type ongoing struct {
	Incident
	// Counters are as last read; what they rise by is booked to the incident. They are valid only where Counted is
	// true.
	Counters Counters `json:"counters"`
	Counted  bool     `json:"counted"`
	// TroubleAt is when there was last a reason to keep the incident open, RefusedAt when the counters last showed
	// a refusal.
	TroubleAt time.Time `json:"trouble_at"`
	RefusedAt time.Time `json:"refused_at,omitzero"`
	// UpdateAt is when it was last published, UpdateEvery the least time to the next update; Dirty is true when
	// something has changed since.
	UpdateAt    time.Time     `json:"update_at"`
	UpdateEvery time.Duration `json:"update_every"`
	Dirty       bool          `json:"dirty"`
	// SuppressedBy counts suppressed messages of each stream.
	SuppressedBy map[string]int `json:"suppressed_by,omitempty"`
	// Said has what is said once an incident: reasons of refused steps, errors of failed ones.
	Said map[string]bool `json:"said,omitempty"`
	// StepAt is when its last step was taken; Resized is true once the hash was resized under load.
	StepAt  time.Time `json:"step_at,omitzero"`
	Resized bool      `json:"resized,omitempty"`

	// ToldLeader is the first of Top as it was last published.
	ToldLeader string `json:"told_leader,omitempty"`

	fresh bool // opened, but not yet published
	// topAsked is when it was last asked who fills the table, zero: not since the start; topWorst how bad it was then.
	topAsked time.Time
	topWorst Severity
}

// saidAtMost bounds what an incident keeps of what was said, since errors come in many wordings.
const saidAtMost = 64

// say tells whether a thing that is said once an incident is to be said now.
func (o *ongoing) say(what string) bool {
	if o.Said[what] || len(o.Said) >= saidAtMost {
		return false
	}
	o.Said[what] = true
	return true
}

// resume mends what a restart brings about: JSON leaves out empty maps, and the clock may have been set back since, in
// which case no time may lie ahead.
func (o *ongoing) resume(start time.Time) {
	if o.PerSource == nil {
		o.PerSource = map[string]int{}
	}
	if o.SuppressedBy == nil {
		o.SuppressedBy = map[string]int{}
	}
	if o.Said == nil {
		o.Said = map[string]bool{}
	}
	for _, at := range []*time.Time{&o.TroubleAt, &o.RefusedAt, &o.UpdateAt, &o.StepAt} {
		if at.After(start) {
			*at = start
		}
	}
}

// take books a reading and what it shows.
func (o *ongoing) take(r Reading, seen growth) {
	o.Drops += seen.drops
	o.EarlyDrops += seen.earlyDrops
	o.ChainDrops += seen.chainDrops
	o.InsertFailed += seen.insertFailed
	if r.CountersOK {
		o.Counters, o.Counted = r.Counters, true
	}
	if seen.drops+seen.earlyDrops+seen.chainDrops > 0 || r.Count > o.PeakCount || r.Max != o.Max {
		o.Dirty = true
	}
	o.Count, o.Max, o.PeakCount = r.Count, r.Max, max(o.PeakCount, r.Count)
	if r.Buckets != 0 {
		o.Buckets = r.Buckets
	}
}

func (o *ongoing) foresee(t *trend) {
	o.InsertRate = max(o.InsertRate, t.rate)
	o.TimeToFull, o.Confidence = nil, 0
	if ttf := t.lasts; ttf > 0 {
		o.Confidence = t.confidence()
		seconds := ttf.Seconds()
		o.TimeToFull = &seconds
	}
}

// count books a matching record.
func (o *ongoing) count(key string, matches, suppressed int) {
	if matches > 0 {
		o.PerSource[key] += matches
	}
	if suppressed > 0 {
		o.SuppressedBy[key] += suppressed
	}
	o.Matches = max(o.Matches, o.PerSource[key])
	o.Suppressed = max(o.Suppressed, o.SuppressedBy[key])
	o.Dirty = true
}

// covers tells whether the incident explains a record of that time.
func (o *ongoing) covers(at time.Time) bool {
	if !o.Verified {
		return !at.Before(o.OpenedAt.Add(-recordSlack))
	}
	return !o.RefusedAt.IsZero() && !at.Before(o.OpenedAt.Add(-recordSlack)) && !at.After(o.RefusedAt.Add(recordSlack))
}

// snapshot is the incident as it is now, sharing nothing with it.
func (o *ongoing) snapshot() Incident {
	i := o.Incident
	i.PerSource = maps.Clone(i.PerSource)
	i.LimitHitBy = slices.Clone(i.LimitHitBy)
	i.Top = slices.Clone(i.Top)
	return i
}
