package remediate

import (
	"encoding/json"
	"slices"
)

// UnmarshalJSON reads a state and leaves out what no tracker saves and none can go on from. Its seal keeps a damaged
// state from being read at all; this is for one that somebody wrote by hand, or a version to come.
func (st *TrackerState) UnmarshalJSON(data []byte) error {
	type plain TrackerState // without this method
	if err := json.Unmarshal(data, (*plain)(st)); err != nil {
		return err
	}
	st.Open = slices.DeleteFunc(st.Open, func(o *ongoing) bool { return o == nil })
	st.Closed = slices.DeleteFunc(st.Closed, func(i Incident) bool { return i.ClosedAt == nil })
	return nil
}
