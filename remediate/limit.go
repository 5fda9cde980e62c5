package remediate

import (
	"fmt"
	"time"
)

// setLimit takes the limit as read or written at a time.
func (t *Tracker) setLimit(limit uint64, at time.Time) {
	if !t.limitKnown || limit != t.limit {
		t.st.Quiet = 0
		for _, tb := range t.tables {
			tb.barredAt = time.Time{} // that was under another limit
		}
	}
	t.limit, t.limitKnown, t.limitAt = limit, true, at
}

// noticeLimit compares the limit with what it was last known to be: a difference is somebody else's change. A reading
// that was taken before our own write knows nothing of it.
func (t *Tracker) noticeLimit(now time.Time, r Reading) {
	if r.At.Before(t.limitAt) {
		return
	}
	if t.limitKnown && r.Max != t.limit {
		if c, tell := t.noteForeign(now, t.limit, r.Max); tell {
			t.emit(now, EventLimitChanged, c)
		}
	}
	t.setLimit(r.Max, r.At)
	t.watchQuiet(r)
	if p := t.st.Pending; t.Settling() && r.Max != p.To {
		t.giveUp(now, fmt.Sprintf("not persisted: somebody else set the limit to %d, from %d, before the outcome was known",
			r.Max, p.To))
	}
}
