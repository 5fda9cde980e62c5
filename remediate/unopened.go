package remediate

import (
	"slices"
	"time"
)

// unopened is an incident that a step names and that nobody was told of: a kill between the write to the kernel and the
// saving of the events took it away, while the step itself was recovered.
type unopened struct {
	ID      string    `json:"incident_id"`
	Inode   uint64    `json:"netns_inode"`
	At      time.Time `json:"at"` // when the step was recovered
	Resized bool      `json:"resized,omitempty"`
}

// noteUnopened remembers the incident of a step of this boot when it is not known, neither open nor closed.
func (t *Tracker) noteUnopened(now time.Time, s Step, resized bool) {
	known := slices.ContainsFunc(t.st.Closed, func(i Incident) bool { return i.ID == s.IncidentID })
	if s.IncidentID == "" || known || s.Reason != ReasonFull && s.Reason != ReasonPressure {
		return
	}
	t.st.Unopened = &unopened{ID: s.IncidentID, Inode: s.NetNS.Inode, At: now, Resized: resized}
}

// adopt gives an incident that opens the id of the one that was lost in the same namespace, as long as that would still
// be open: it is the same trouble, and the step names its incident again.
func (t *Tracker) adopt(now time.Time, o *ongoing) {
	u := t.st.Unopened
	if u == nil || u.Inode != o.NetNS.Inode {
		return
	}
	t.st.Unopened = nil
	if now.Sub(u.At) < t.cfg.CloseAfter {
		o.ID, o.StepAt, o.Resized = u.ID, u.At, u.Resized
	}
}
