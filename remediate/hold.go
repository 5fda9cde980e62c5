package remediate

import "time"

// Hold stops all automatic writes.
type Hold struct {
	// Until is when the hold ends by itself. Zero: only when it is released.
	Until time.Time `json:"until,omitzero"`
	// Since and By say when it was set and by whom.
	Since time.Time `json:"since"`
	By    string    `json:"by"`
}

// Active tells whether the hold is in force at now. A nil hold is not.
func (h *Hold) Active(now time.Time) bool {
	return h != nil && (h.Until.IsZero() || now.Before(h.Until))
}
