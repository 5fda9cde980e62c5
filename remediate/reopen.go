package remediate

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Ongoing returns an open incident as [Tracker.Reopen] takes it, in JSON; nil: it is not open. It is for the journal of
// intents, since a step often follows its incident so fast that neither is saved when the program is killed.
func (t *Tracker) Ongoing(id string) ([]byte, error) {
	o := t.incident(id)
	if o == nil {
		return nil, nil
	}
	short := *o
	short.LimitHitBy = nil // it can be long, and the next reading tells it anew
	b, err := json.Marshal(short)
	if err != nil {
		return nil, fmt.Errorf("encode incident %s: %w", id, err)
	}
	return b, nil
}

// Reopen takes an incident that a kill kept from being saved, before the first [Tracker.Read]. One of another boot, or
// one that is known, is passed over. It goes on where it was: what the counters rose by since is booked to it.
func (t *Tracker) Reopen(now time.Time, saved []byte) ([]Event, error) {
	var o ongoing
	if err := json.Unmarshal(saved, &o); err != nil {
		return nil, fmt.Errorf("reopen the incident of a step: %w", err)
	}
	if o.ID == "" || o.BootID != t.cfg.BootID || t.knows(o.ID) {
		return nil, nil
	}
	if tb := t.tables[o.NetNS.Inode]; tb != nil && tb.ongoing != nil {
		t.close(now, tb.ongoing) // it must have been closed before this one was opened, which was not saved either
	}
	o.resume(t.cfg.Start)
	t.st.Open = append(t.st.Open, &o)
	t.tables[o.NetNS.Inode] = resumedTable(&o)
	t.emit(now, EventIncidentOpened, o.snapshot())
	return t.take(), nil
}

// knows tells whether an incident is open or was closed.
func (t *Tracker) knows(id string) bool {
	return t.incident(id) != nil || slices.ContainsFunc(t.st.Closed, func(i Incident) bool { return i.ID == id })
}
