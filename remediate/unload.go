package remediate

import "time"

// TableGone tells that the kernel has no table any more, since its module was unloaded. It comes back with its default
// limit and with counters that begin anew, which is nobody's doing.
func (t *Tracker) TableGone() {
	t.limit, t.limitKnown, t.limitAt = 0, false, time.Time{}
	t.st.Foreign.Set, t.st.Foreign.Lowered = 0, 0
	for _, tb := range t.tables {
		tb.hasCounted = false
	}
}
