package agent

import (
	"maps"
	"slices"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// merge returns one change that does what both do, the earlier first.
func merge(earlier, later state.Change) state.Change {
	c := state.Change{
		Positions: maps.Clone(earlier.Positions), Meta: maps.Clone(earlier.Meta), Tracker: earlier.Tracker,
		Steps:  slices.Concat(earlier.Steps, later.Steps),
		Events: slices.Concat(earlier.Events, later.Events),
	}
	c.Positions = overlay(c.Positions, later.Positions)
	c.Meta = overlay(c.Meta, later.Meta)
	if later.Tracker != nil {
		c.Tracker = later.Tracker
	}
	return c
}

func overlay(under, over map[string][]byte) map[string][]byte {
	if under == nil {
		return over
	}
	maps.Copy(under, over)
	return under
}

// trim drops events beyond limit and returns how many: the oldest updates first, then the oldest of the others.
func trim(c *state.Change, limit int) uint64 {
	over := len(c.Events) - limit
	if over <= 0 {
		return 0
	}
	dropped := over
	c.Events = slices.DeleteFunc(c.Events, func(ev notify.Outgoing) bool {
		if over == 0 || ev.Type != remediate.EventIncidentUpdated {
			return false
		}
		over--
		return true
	})
	c.Events = slices.Delete(c.Events, 0, over)
	return uint64(dropped)
}

func empty(c state.Change) bool {
	return len(c.Positions) == 0 && len(c.Meta) == 0 && c.Tracker == nil && len(c.Steps) == 0 && len(c.Events) == 0
}
