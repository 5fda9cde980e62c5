package remediate

import (
	"fmt"
	"slices"
	"time"
)

const (
	// mostReraises is how often in an hour automatic steps raise the limit again from where the same writer set it.
	mostReraises = 2
	// repeatedTimes is how often the same value must be set until it is not a person any more who sets it.
	repeatedTimes = 3
	// keptForeign is how many changes by others are remembered.
	keptForeign = 64
)

// WriterKind says what sort of writer changed the limit, as far as it can be told. The kernel does not say who wrote.
type WriterKind string

// The kinds of writers.
const (
	WriterUnknown   WriterKind = "unknown"    // a person, or something that has done it once or twice so far
	WriterReapplied WriterKind = "reapplied"  // something sets this value again and again: a configuration tool, a timer
	WriterSysctl    WriterKind = "sysctl"     // a line of a sysctl.d file has exactly this value
	WriterKubeProxy WriterKind = "kube_proxy" // kube-proxy runs, and this is the value that it works out
	WriterTuned     WriterKind = "tuned"      // the active profile of tuned has exactly this value
)

// Writer is who may have written a limit: where exactly its value stands, or who works it out.
type Writer struct {
	Kind WriterKind
	// Name is a file with its line, or a program; empty: it is not known.
	Name string
}

// foreignChange is one change of the limit by somebody else.
type foreignChange struct {
	At   time.Time  `json:"at"`
	Old  uint64     `json:"old"`
	New  uint64     `json:"new"`
	By   string     `json:"by,omitempty"`
	Kind WriterKind `json:"kind,omitempty"`
}

// reraise is an automatic step that began where somebody else had set the limit.
type reraise struct {
	At    time.Time `json:"at"`
	Limit uint64    `json:"limit"`
}

// foreignWriters is what is known of others who write the limit in this boot. A writer is known by the value that it sets.
type foreignWriters struct {
	// Changes are the last ones, the oldest first.
	Changes []foreignChange `json:"changes,omitempty"`
	// Reraised are those of the last hour.
	Reraised []reraise `json:"reraised,omitempty"`
	// Lowered is what the last change lowered the limit to; 0: it raised it, or there was none.
	Lowered uint64 `json:"lowered,omitempty"`
}

// Foreign is what [Decide] knows of somebody else who lowered the limit.
type Foreign struct {
	// Lowered is what somebody else lowered the limit to, while that is in force; 0: the limit is nobody else's lowering.
	Lowered uint64
	// Reraised is how many automatic steps raised the limit from that very value in the last hour.
	Reraised int
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
	case f.Lowered != 0 && f.Reraised >= mostReraises:
		return stanceYields
	case within(now, changed, p.ForeignPause):
		return stancePaused
	case f.Lowered != 0 && asks != ReasonFull:
		return stanceWaits
	}
	return stanceFree
}

// lowers tells whether a limit is lower than another one; 0 is none at all.
func lowers(from, to uint64) bool { return to != 0 && (from == 0 || to < from) }

// resume mends what a restart brings about: no time may lie ahead, where the clock was set back since.
func (f *foreignWriters) resume(start time.Time) {
	for i := range f.Changes {
		if f.Changes[i].At.After(start) {
			f.Changes[i].At = start
		}
	}
	for i := range f.Reraised {
		if f.Reraised[i].At.After(start) {
			f.Reraised[i].At = start
		}
	}
	if len(f.Changes) == 0 {
		f.Changes = nil // an empty list is none, so that it is saved as it was read
	}
	if len(f.Reraised) == 0 {
		f.Reraised = nil
	}
}

// resumeForeign takes over what is known of others, in a tracker of the same boot.
func (t *Tracker) resumeForeign() {
	t.st.Foreign.resume(t.cfg.Start)
	if t.st.ForeignAt.After(t.cfg.Start) {
		t.st.ForeignAt = t.cfg.Start
	}
}

// noteForeign books that somebody else changed the limit, and returns what is to be told of it.
func (t *Tracker) noteForeign(now time.Time, old, limit uint64) LimitChange {
	f := &t.st.Foreign
	if over := len(f.Changes) + 1 - keptForeign; over > 0 {
		f.Changes = slices.Delete(f.Changes, 0, over)
	}
	f.Changes = append(f.Changes, foreignChange{At: now, Old: old, New: limit})
	t.st.ForeignAt, f.Lowered = now, 0
	if lowers(old, limit) {
		f.Lowered = limit
	}
	return t.lastForeign()
}

// lastForeign is the last change as it is told: a value that was set again and again is no person's.
func (t *Tracker) lastForeign() LimitChange {
	changes := t.st.Foreign.Changes
	last := changes[len(changes)-1]
	c := LimitChange{Old: last.Old, New: last.New, By: last.By, ByKind: last.Kind}
	for _, f := range changes {
		if f.New == last.New {
			c.Times++
		}
	}
	if c.ByKind == "" {
		c.ByKind = WriterUnknown
		if c.Times >= repeatedTimes {
			c.ByKind = WriterReapplied
		}
	}
	return c
}

// Wrote tells who may have made the change that [Tracker.Read] has just told of. It returns the change with that.
func (t *Tracker) Wrote(c LimitChange, w Writer) LimitChange {
	changes := t.st.Foreign.Changes
	if n := len(changes); n == 0 || w.Kind == "" || changes[n-1].Old != c.Old || changes[n-1].New != c.New {
		return c
	}
	last := &changes[len(changes)-1]
	last.By, last.Kind = w.Name, w.Kind
	return t.lastForeign()
}

// noteReraise books an automatic step that begins where somebody else has set the limit, before it is booked itself.
func (t *Tracker) noteReraise(now time.Time, s Step) {
	f := &t.st.Foreign
	if s.Reason == ReasonManual || f.Lowered == 0 || s.From != f.Lowered || s.To <= s.From {
		return
	}
	f.Reraised = slices.DeleteFunc(f.Reraised, func(r reraise) bool { return !within(now, r.At, time.Hour) })
	f.Reraised = append(f.Reraised, reraise{At: now, Limit: s.From})
}

// Foreign is what stands between an automatic step and the limit as somebody else has lowered it.
func (t *Tracker) Foreign(now time.Time) Foreign {
	f := t.st.Foreign
	if f.Lowered == 0 || !t.limitKnown || t.limit != f.Lowered {
		return Foreign{}
	}
	out := Foreign{Lowered: f.Lowered}
	for _, r := range f.Reraised {
		if r.Limit == f.Lowered && within(now, r.At, time.Hour) {
			out.Reraised++
		}
	}
	return out
}

// countPaused returns how much of what a reading shows was refused while automatic steps kept still on account of
// somebody else's change.
func (t *Tracker) countPaused(now time.Time, seen growth) uint64 {
	if !seen.refusing || t.cfg.ForeignPause <= 0 {
		return 0
	}
	if t.Foreign(now).Lowered == 0 && !within(now, t.st.ForeignAt, t.cfg.ForeignPause) {
		return 0
	}
	t.pausedTotal += seen.drops + seen.earlyDrops
	return seen.drops + seen.earlyDrops
}

// RefusedInPause is all that was refused in such pauses since the start.
func (t *Tracker) RefusedInPause() uint64 { return t.pausedTotal }

// ForeignStatus is somebody else's last change of the limit in this boot, and what follows from it for automatic steps.
type ForeignStatus struct {
	LimitChange
	At time.Time `json:"at"`
	// Steps says what becomes of automatic steps.
	Steps string `json:"steps"`
}

// ForeignStatus tells of somebody else's last change; nil: there was none in this boot, or it matters no more.
func (t *Tracker) ForeignStatus(now time.Time, p Policy) *ForeignStatus {
	n := len(t.st.Foreign.Changes)
	if n == 0 {
		return nil
	}
	s := t.Foreign(now).stance(p, now, t.st.ForeignAt, ReasonPressure)
	if s == stanceFree {
		return nil
	}
	return &ForeignStatus{
		LimitChange: t.lastForeign(), At: t.st.Foreign.Changes[n-1].At, Steps: t.stanceText(now, p, s),
	}
}

// refusal says under what name a refused step is said once an incident, and what is to be added to the reason: for
// somebody else's change, who that is and what to do.
func (t *Tracker) refusal(now time.Time, p Policy, d Decision) (once, why string) {
	once = string(d.Reason)
	if d.Reason != ReasonForeignChange || len(t.st.Foreign.Changes) == 0 {
		return once, ""
	}
	s := t.Foreign(now).stance(p, now, t.st.ForeignAt, d.Trigger)
	if s == stanceYields {
		once += " again" // said although an earlier pause of the same incident was
	}
	c := t.lastForeign()
	return once, fmt.Sprintf("set from %d to %d by %s; %s", c.Old, c.New, c.Who(), t.stanceText(now, p, s))
}

// stanceText says what becomes of automatic steps, and what an operator can do.
func (t *Tracker) stanceText(now time.Time, p Policy, s stance) string {
	switch s {
	case stancePaused:
		left := max(p.ForeignPause-now.Sub(t.st.ForeignAt), 0).Round(time.Second)
		return fmt.Sprintf("automatic steps pause for %s more", left)
	case stanceWaits:
		return "automatic steps wait until connections are refused; ctwarden raise --to N goes ahead at once"
	case stanceYields:
		return fmt.Sprintf("raised again %d times within the hour, which is enough: %s", mostReraises, t.lastForeign().remedy())
	}
	return "automatic steps go on"
}

// Who says who changed the limit, for a person.
func (c LimitChange) Who() string {
	name := c.By
	if name == "" {
		name = "someone else"
	}
	switch c.ByKind {
	case WriterReapplied:
		name = "something that sets it again and again"
	case WriterSysctl, WriterTuned:
		name += ", which has this value"
	}
	if c.Times > 1 {
		name += fmt.Sprintf(", %d times in this boot", c.Times)
	}
	return name
}

// remedy says what to change so that the limit is not lowered any more.
func (c LimitChange) remedy() string {
	switch c.ByKind {
	case WriterSysctl:
		return "change or remove " + c.By
	case WriterTuned:
		return "change the profile of tuned in " + c.By
	case WriterKubeProxy:
		return "raise conntrack.maxPerCore in kube-proxy's configuration, or set it to 0, which leaves the limit alone"
	case WriterReapplied:
		return "find what sets it (a configuration tool, a timer with sysctl --system) and change the value there"
	}
	return "ask who sets it, or take the step with ctwarden raise --to N"
}
