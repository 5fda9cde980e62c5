package remediate

import (
	"fmt"
	"time"
)

// noticeLimit compares the limit with what it was last known to be: a difference is somebody else's change. A reading
// that was taken before our own write knows nothing of it.
func (t *Tracker) noticeLimit(now time.Time, r Reading) {
	if r.At.Before(t.limitAt) {
		return
	}
	if !t.limitAt.IsZero() && r.Max != t.limit {
		t.st.ForeignAt = now
		t.emit(now, EventLimitChanged, LimitChange{Old: t.limit, New: r.Max})
	}
	t.limit, t.limitAt = r.Max, r.At
	if p := t.st.Pending; t.Settling() && r.Max != p.To {
		t.giveUp(now, fmt.Sprintf("not persisted: somebody else set the limit to %d, from %d, before the outcome was known",
			r.Max, p.To))
	}
}
