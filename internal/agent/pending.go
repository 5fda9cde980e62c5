package agent

import (
	"maps"
	"slices"

	"github.com/ctwarden/ctwarden/internal/state"
)

// merge returns one change that does what both do, the earlier first. Events are not in it: they are the outbox's.
func merge(earlier, later state.Change) state.Change {
	c := state.Change{
		Positions: maps.Clone(earlier.Positions), Meta: maps.Clone(earlier.Meta), Tracker: earlier.Tracker,
		Steps: slices.Concat(earlier.Steps, later.Steps),
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
