package installed

import (
	"maps"
	"slices"
	"testing"
)

// TestAllRoots makes the roots of all suites at the same time, ahead of the other tests, each of which makes the one that
// it needs where it is not there.
func TestAllRoots(t *testing.T) {
	built(t)
	need(t)
	for _, suite := range slices.Sorted(maps.Keys(suites)) {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			cachedRoot(t, suite)
		})
	}
}
