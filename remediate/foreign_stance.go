package remediate

import (
	"slices"
	"time"
)

// mostReraises is how often in an hour automatic steps raise the limit again from the same value that others have set, or
// from where the same writer has lowered it to, whatever the values. All that nobody knows count as one writer: they cannot
// be told apart.
const mostReraises = 2

// reraise is an automatic step that began where somebody else had set the limit.
type reraise struct {
	At    time.Time `json:"at"`
	Limit uint64    `json:"limit"`
	// Lowered is true where that was a lowering, By who did it; empty: it is not known.
	Lowered bool   `json:"lowered,omitempty"`
	By      string `json:"by,omitempty"`
}

// Foreign is what [Decide] knows of somebody else who set the limit that is in force.
type Foreign struct {
	// Lowered is what somebody else lowered the limit to, while that is in force; 0: the limit is nobody else's lowering.
	Lowered uint64
	// Reraised is how many automatic steps raised the limit in the last hour from the very value that somebody else has
	// set, and that is in force.
	Reraised int
	// Against is how many did in the last hour from where the writer of that lowering has lowered it to, whatever the values.
	// All writers that nobody knows count as one. Zero: it is no lowering.
	Against int
}

// yields tells whether the limit was raised again often enough.
func (f Foreign) yields() bool {
	return f.Reraised >= mostReraises || f.Against >= mostReraises
}

// A stance is how automatic steps stand to somebody else's change.
type stance int

const (
	stanceFree   stance = iota // steps are taken
	stancePaused               // not before foreign_pause is over
	stanceWaits                // not before connections are refused: whoever lowered the limit meant it
	stanceYields               // not before an hour has gone by: it was raised again often enough
)

// stance is how a step that is asked for stands to a change at a time. With a foreign_pause of 0 no change matters.
func (f Foreign) stance(p Policy, now, changed time.Time, asks Reason) stance {
	switch {
	case p.ForeignPause <= 0:
		return stanceFree
	case f.yields():
		return stanceYields
	case within(now, changed, p.ForeignPause):
		return stancePaused
	case f.Lowered != 0 && asks != ReasonFull:
		return stanceWaits
	}
	return stanceFree
}

// noteReraise books an automatic step that begins where somebody else has set the limit, before it is booked itself.
func (t *Tracker) noteReraise(now time.Time, s Step) {
	f := &t.st.Foreign
	if s.Reason == ReasonManual || f.Set == 0 || s.From != f.Set || s.To <= s.From {
		return
	}
	f.Reraised = slices.DeleteFunc(f.Reraised, func(r reraise) bool { return !within(now, r.At, time.Hour) })
	f.Reraised = append(f.Reraised, reraise{At: now, Limit: s.From, Lowered: f.Lowered != 0, By: f.writer()})
}

// nameReraises names the writer to steps that were taken since a change before it was known who made it.
func (f foreignWriters) nameReraises(c foreignChange) {
	for i, r := range f.Reraised {
		if r.Limit == c.New && !r.At.Before(c.At) {
			f.Reraised[i].By = c.By
		}
	}
}

// writer is who made the last change; empty: it is not known.
func (f foreignWriters) writer() string {
	if n := len(f.Changes); n > 0 {
		return f.Changes[n-1].By
	}
	return ""
}

// forgetReraise is noteReraise taken back, for a step from that limit that was undone: it stands between nobody and his
// value any more.
func (t *Tracker) forgetReraise(limit uint64) {
	list := t.st.Foreign.Reraised
	for i, r := range slices.Backward(list) {
		if r.Limit == limit {
			t.st.Foreign.Reraised = slices.Delete(list, i, i+1)
			return
		}
	}
}

// Foreign is what stands between an automatic step and the limit as somebody else has set it.
func (t *Tracker) Foreign(now time.Time) Foreign {
	f := t.st.Foreign
	if f.Set == 0 || !t.limitKnown || t.limit != f.Set {
		return Foreign{}
	}
	by := f.writer()
	out := Foreign{Lowered: f.Lowered}
	for _, r := range f.Reraised {
		if !within(now, r.At, time.Hour) {
			continue
		}
		if r.Limit == f.Set {
			out.Reraised++
		}
		if f.Lowered != 0 && r.Lowered && r.By == by {
			out.Against++
		}
	}
	return out
}
