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

func (t *Tracker) emit(now time.Time, typ EventType, data any) {
	t.events = append(t.events, t.Event(now, typ, data))
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
