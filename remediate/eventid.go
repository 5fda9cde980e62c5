package remediate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// Event makes an event of the agent's own, with the next number of the tracker's sequence in its id.
func (t *Tracker) Event(now time.Time, typ EventType, data any) Event {
	t.st.Seq++
	return Event{
		ID:   hashID(t.cfg.Host, t.cfg.BootID, typ, now.UnixNano(), t.st.Seq),
		Type: typ, Time: now, Data: data,
	}
}

// emit makes an event. What can happen but once to an incident or a step has an id of that alone, so that it is the
// same event when it is told again after a crash that kept it from being saved.
func (t *Tracker) emit(now time.Time, typ EventType, data any) {
	ev := t.Event(now, typ, data)
	switch d := data.(type) {
	case Incident:
		if typ != EventIncidentUpdated {
			ev.ID = hashID(typ, d.ID)
		}
	case Step:
		if d.ID != "" {
			ev.ID = hashID(typ, t.cfg.Host, t.cfg.BootID, d.ID)
		}
	}
	t.events = append(t.events, ev)
}

// take hands out the events since the last call.
func (t *Tracker) take() []Event {
	out := t.events
	t.events = nil
	return out
}

// hashID is 128 bits of a hash over the parts, in hex: unique over hosts, boots and time, and the same for the same
// parts.
func hashID(parts ...any) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%v\x00", p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
