package remediate

import (
	"strings"
	"testing"
	"time"
)

// TestHoldOfTheFleetIsExplained: a step that the fleet's hold keeps from being taken says by whom and until when, one that
// the host's own keeps says how that is released.
func TestHoldOfTheFleetIsExplained(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	own := &Hold{Since: at, By: "ann"}
	fleet := &Hold{Since: at, Until: at.Add(time.Hour), By: "bert", Why: "core switch", Fleet: true}
	for name, c := range map[string]struct {
		hold  *Hold
		words []string
		named bool
	}{
		"the host's own": {own, []string{"ctwarden unhold releases"}, false},
		"the fleet's":    {fleet, []string{"fleet", "bert", "core switch", "2026-03-04T06:06:07Z", "ctwarden-hub unhold"}, true},
		"without an end": {&Hold{Since: at, By: "bert", Fleet: true}, []string{"until it is released"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := Situation{Now: at.Add(time.Minute), Held: c.hold}
			s.Ask.Reason = ReasonFull
			var d Decision
			if got := guardHeld(Policy{}, s, &d); got != ReasonHeld {
				t.Errorf("reason %q", got)
			}
			if (d.Held != nil) != c.named {
				t.Errorf("the decision names %+v", d.Held)
			}
			for _, word := range c.words {
				if text := c.hold.Text(); !strings.Contains(text, word) {
					t.Errorf("%q lacks %q", text, word)
				}
			}
			s.Now = at.Add(2 * time.Hour)
			if got := guardHeld(Policy{}, s, &Decision{}); (got == ReasonHeld) != c.hold.Until.IsZero() {
				t.Errorf("two hours later: %q", got)
			}
		})
	}
}
