package remediate

import (
	"fmt"
	"time"
)

// Hold stops all automatic writes.
type Hold struct {
	// Until is when the hold ends by itself. Zero: only when it is released.
	Until time.Time `json:"until,omitzero"`
	// Since and By say when it was set and by whom.
	Since time.Time `json:"since"`
	By    string    `json:"by"`
	// Why is what it was set for, where that was said.
	Why string `json:"why,omitempty"`
	// Fleet is true for the hold that the fleet's hub ordered, which only the fleet releases; false for the host's own.
	Fleet bool `json:"fleet,omitempty"`
	// File is where it was found. Empty: it is not known from a file.
	File string `json:"file,omitempty"`
	// UntilBoot is true for a hold that is in memory alone and ends with the boot, whatever Until says, unless the agent has
	// moved it to the disk before.
	UntilBoot bool `json:"until_boot,omitempty"`
}

// Active tells whether the hold is in force at now. A nil hold is not.
func (h *Hold) Active(now time.Time) bool {
	return h != nil && (h.Until.IsZero() || now.Before(h.Until))
}

// Text says to a person that automatic writes are held, and what releases them: of the fleet's hold also by whom and until
// when, since that is decided elsewhere. A nil hold is one of the host's own of which nothing is known.
func (h *Hold) Text() string {
	if h == nil || !h.Fleet {
		return ReasonHeld.Text()
	}
	why, until := "", "until it is released"
	if h.Why != "" {
		why = " (" + h.Why + ")"
	}
	if !h.Until.IsZero() {
		until = "until " + h.Until.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("the fleet holds automatic writes, by %s%s, %s; ctwarden-hub unhold releases them, ctwarden unhold does not",
		h.By, why, until)
}

// Longer is the one of two holds that lasts longer; the first where both do. A nil hold is none.
func (h *Hold) Longer(other *Hold) *Hold {
	switch {
	case other == nil:
		return h
	case h == nil, !h.Until.IsZero() && (other.Until.IsZero() || other.Until.After(h.Until)):
		return other
	}
	return h
}
