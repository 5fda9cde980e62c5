package fleet

import (
	"fmt"
	"slices"
	"testing"
)

// TestNamedHosts: the hosts that are named are the first also where those before them have got well.
func TestNamedHosts(t *testing.T) {
	s := newSim(t, basic())
	const hosts = 200
	where := func(n int) string { return fmt.Sprintf("gva/h%03d", n) }
	for n := range hosts {
		s.open(where(n), drops(uint64(n)))
	}
	check(t, s.f)
	for n := hosts - 1; n > hosts-60; n-- {
		s.close(where(n), drops(uint64(n)))
		check(t, s.f)
	}
	s.update(where(3), drops(1000))
	got := s.f.Groups()[0].Sample
	if want := []string{"h003", "h140", "h139", "h138", "h137", "h136", "h135", "h134", "h133", "h132"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
