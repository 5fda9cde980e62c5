package remediate

import (
	"fmt"
	"slices"
	"time"
)

// ForeignStatus is somebody else's last change of the limit in this boot, and what follows from it for automatic steps.
type ForeignStatus struct {
	LimitChange
	At time.Time `json:"at"`
	// Steps says what becomes of automatic steps.
	Steps string `json:"steps"`
}

// ForeignStatus tells of somebody else's last change; nil: there was none in this boot, or it matters no more.
func (t *Tracker) ForeignStatus(now time.Time, p Policy) *ForeignStatus {
	if len(t.st.Foreign.Changes) == 0 {
		return nil
	}
	s := t.Foreign(now).stance(p, now, t.ForeignAt(), ReasonPressure)
	if s == stanceFree {
		return nil
	}
	c := t.foreignBehind(s)
	return &ForeignStatus{LimitChange: c.told(), At: c.At, Steps: t.stanceText(now, p, s)}
}

// refusal says under what name a refused step is said once an incident, and what is to be added to the reason: for
// somebody else's change, who that is and what to do.
func (t *Tracker) refusal(now time.Time, p Policy, d Decision) (once, why string) {
	once = string(d.Reason)
	if d.Reason == ReasonHeld && d.Held != nil {
		return once, d.Held.Text()
	}
	if d.Reason != ReasonForeignChange || len(t.st.Foreign.Changes) == 0 {
		return once, ""
	}
	s := t.Foreign(now).stance(p, now, t.ForeignAt(), d.Trigger)
	if s == stanceYields {
		once += " again" // said although an earlier pause of the same incident was
	}
	c := t.foreignBehind(s).told()
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
		f := t.Foreign(now)
		return fmt.Sprintf("raised again %d times within the hour, which is enough: %s", max(f.Reraised, f.Against), t.lastForeign().remedy())
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

// lastForeign is the last change as it is told: a value that was set again and again is no person's.
func (t *Tracker) lastForeign() LimitChange {
	changes := t.st.Foreign.Changes
	return changes[len(changes)-1].told()
}

// foreignBehind is the change that a stance is for: a pause is for the last lowering, whatever came since.
func (t *Tracker) foreignBehind(s stance) foreignChange {
	changes := t.st.Foreign.Changes
	for _, c := range slices.Backward(changes) {
		if s != stancePaused || lowers(c.Old, c.New) {
			return c
		}
	}
	return changes[len(changes)-1]
}

func (f foreignChange) told() LimitChange {
	c := LimitChange{Old: f.Old, New: f.New, By: f.By, ByKind: f.Kind, Times: f.Times}
	if c.ByKind == "" {
		c.ByKind = WriterUnknown
		if c.Times >= repeatedTimes {
			c.ByKind = WriterReapplied
		}
	}
	return c
}
