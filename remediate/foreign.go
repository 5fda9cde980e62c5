package remediate

import (
	"slices"
	"time"
)

const (
	// repeatedTimes is how often the same value must be set until it is not a person any more who sets it.
	repeatedTimes = 3
	// keptForeign is of how many values the last change by others is remembered.
	keptForeign = 64
	// mostTimes bounds what is counted of one value.
	mostTimes = 1 << 30
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
	// Name is a file with its line, or a program; empty: it is not known. Writers of one name are one, so it has nothing that
	// changes when a program is started again.
	Name string
}

// foreignChange is the last change of the limit to a value by somebody else.
type foreignChange struct {
	At   time.Time  `json:"at"`
	Old  uint64     `json:"old"`
	New  uint64     `json:"new"`
	By   string     `json:"by,omitempty"`
	Kind WriterKind `json:"kind,omitempty"`
	// Times is how often somebody else has set this value; Lowered is true where that lowered the limit, now or another time
	// within the hour before.
	Times   int  `json:"times,omitempty"`
	Lowered bool `json:"lowered,omitempty"`
}

// foreignWriters is what is known of others who write the limit in this boot. A writer is known by the value that it sets,
// or by name.
type foreignWriters struct {
	// Changes are the last ones, one for each value, the oldest first.
	Changes []foreignChange `json:"changes,omitempty"`
	// Reraised are those of the last hour.
	Reraised []reraise `json:"reraised,omitempty"`
	// Set is what the last change set the limit to, and Lowered the same where it lowered it; 0: there was none, or the
	// limit is ours again.
	Set     uint64 `json:"set,omitempty"`
	Lowered uint64 `json:"lowered,omitempty"`
	// PausedFrom is what the limit was before the lowering that the pause is for; 0: it was none, or it is not known.
	PausedFrom uint64 `json:"paused_from,omitempty"`
}

// lowers tells whether a limit is lower than another one; 0 is none at all.
func lowers(from, to uint64) bool { return to != 0 && (from == 0 || to < from) }

// resume mends what a restart brings about: no time may lie ahead, where the clock was set back since. An earlier version
// kept each change and not what the last one set.
func (f *foreignWriters) resume(start time.Time) {
	saved := f.Changes
	f.Changes = nil
	for _, c := range saved {
		if c.At.After(start) {
			c.At = start
		}
		f.add(c)
	}
	if f.Set == 0 {
		f.Set = f.Lowered
	}
	for i := range f.Reraised {
		if f.Reraised[i].At.After(start) {
			f.Reraised[i].At = start
		}
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

// add books a change behind the others, in the place of an earlier one to the same value. It returns that one; the zero
// change: there is none.
func (f *foreignWriters) add(c foreignChange) (before foreignChange) {
	c.Times, c.Lowered = min(max(c.Times, 1), mostTimes), c.Lowered || lowers(c.Old, c.New)
	if i := slices.IndexFunc(f.Changes, func(x foreignChange) bool { return x.New == c.New }); i >= 0 {
		before = f.Changes[i]
		c.Times = min(c.Times+before.Times, mostTimes)
		f.Changes = slices.Delete(f.Changes, i, i+1)
	}
	if over := len(f.Changes) + 1 - keptForeign; over > 0 {
		f.Changes = slices.Delete(f.Changes, 0, over)
	}
	f.Changes = append(f.Changes, c)
	return before
}

// noteForeign books that somebody else changed the limit. It returns what is to be told of it, and whether it is: the third
// time that a value is set within an hour it is no person's, and from there on only each doubling of the times is news, and
// what undoes a step.
//
// A lowering has automatic steps pause, and the same again may be a person who insists: it has them pause anew. A raise does
// not: whoever raised wants room. Nor does a lowering to what others had lowered it to within the last hour where a file or
// a program has that value, or where it is set for the third time: two who write in turn would have them pause for ever.
func (t *Tracker) noteForeign(now time.Time, old, limit uint64) (change LimitChange, tell bool) {
	f := &t.st.Foreign
	before := f.add(foreignChange{At: now, Old: old, New: limit})
	again := within(now, before.At, time.Hour)
	lowered := again && before.Lowered
	known := lowered && (before.By != "" || before.Times+1 >= repeatedTimes)
	f.Set, f.Lowered = limit, 0
	if lowers(old, limit) {
		f.Lowered = limit
		if !known {
			t.pauseForeign(now, old)
		}
	}
	last := &f.Changes[len(f.Changes)-1]
	last.Lowered = last.Lowered || lowered
	if n := last.Times; again && n > repeatedTimes && n&(n-1) != 0 && !before.At.Before(t.lastStep()) {
		last.By, last.Kind = before.By, before.Kind // nobody looks who it was
		return t.lastForeign(), false
	}
	return t.lastForeign(), true
}

// pauseForeign begins the pause after a lowering, from where one that goes on has begun.
func (t *Tracker) pauseForeign(now time.Time, old uint64) {
	f := &t.st.Foreign
	if !within(now, t.ForeignAt(), t.cfg.ForeignPause) || lowers(old, f.PausedFrom) {
		f.PausedFrom = old
	}
	t.st.ForeignAt = now
}

// ForeignAt is when somebody else lowered the limit, for which automatic steps pause; zero: nobody did, or the limit is back
// at what it was before.
func (t *Tracker) ForeignAt() time.Time {
	if t.limitKnown && !lowers(t.st.Foreign.PausedFrom, t.limit) {
		return time.Time{}
	}
	return t.st.ForeignAt
}

// lastStep is when the last automatic step was taken; zero: not within the last hour.
func (t *Tracker) lastStep() (at time.Time) {
	if n := len(t.st.StepTimes); n > 0 {
		at = t.st.StepTimes[n-1]
	}
	return at
}

// Wrote tells who may have made the change that [Tracker.Read] has just told of. It returns the change with that.
func (t *Tracker) Wrote(c LimitChange, w Writer) LimitChange {
	changes := t.st.Foreign.Changes
	if n := len(changes); n == 0 || w.Kind == "" || changes[n-1].Old != c.Old || changes[n-1].New != c.New {
		return c
	}
	last := &changes[len(changes)-1]
	last.By, last.Kind = w.Name, w.Kind
	t.st.Foreign.nameReraises(*last)
	return t.lastForeign()
}

// countPaused returns how much of what a reading shows was refused while automatic steps kept still on account of
// somebody else's change.
func (t *Tracker) countPaused(now time.Time, seen growth) uint64 {
	if !seen.refusing || t.cfg.ForeignPause <= 0 {
		return 0
	}
	f := t.Foreign(now)
	if f.Lowered == 0 && !f.yields() && !within(now, t.ForeignAt(), t.cfg.ForeignPause) {
		return 0
	}
	t.pausedTotal += seen.refused
	return seen.refused
}

// RefusedInPause is all that was refused in such pauses since the start.
func (t *Tracker) RefusedInPause() uint64 { return t.pausedTotal }
