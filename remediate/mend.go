package remediate

import "slices"

// mended is a state without what no tracker saves and cannot go on from. Its seal keeps a damaged state from being
// read at all; this is for one that somebody wrote by hand, or a version to come.
func (st TrackerState) mended() TrackerState {
	st.Open = slices.DeleteFunc(st.Open, func(o *ongoing) bool { return o == nil })
	st.Closed = slices.DeleteFunc(st.Closed, func(i Incident) bool { return i.ClosedAt == nil })
	return st
}
