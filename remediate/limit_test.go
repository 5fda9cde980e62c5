package remediate

import (
	"strings"
	"testing"
)

// TestLimitOverARestart: what changed while nobody looked is somebody else's change, unless it was the agent's own write
// whose outcome a crash kept from being saved.
func TestLimitOverARestart(t *testing.T) {
	applied := func(s *script) { s.step(host, ReasonManual, 2000) }
	reverted := func(s *script) {
		s.take(s.tr.Reverted(s.now, Step{ID: "u", At: s.now, From: 1000, To: 500, Reason: ReasonManual, NetNS: host}))
	}
	for _, c := range []struct {
		name      string
		boot      string
		recovered func(*script)
		limit     uint64
		want      []string
	}{
		{"unchanged", "b1", nil, 1000, nil},
		{"raised by somebody", "b1", nil, 2000, []string{"limit 1000-2000"}},
		{"lowered by somebody", "b1", nil, 400, []string{"limit 1000-400"}},
		{"no limit any more", "b1", nil, 0, []string{"limit 1000-0"}},
		{"own step", "b1", applied, 2000, []string{"step.applied manual 1000-2000 "}},
		{"own step, then somebody", "b1", applied, 3000,
			[]string{"step.applied manual 1000-2000 ", "limit 2000-3000", "step.confirmed manual 1000-2000 "}},
		{"own step taken back", "b1", reverted, 500, []string{"step.reverted manual 1000-500 "}},
		{"another boot", "b2", nil, 2000, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := play(t)
			s.read(host, 10, 0, 0).restart("b1") // a state that knows of a limit only from the state before it
			s.at(sec(5)).restart(c.boot)
			if c.recovered != nil {
				c.recovered(s)
			}
			s.limit = c.limit
			s.at(sec(6)).read(host, 10, 0, 0).read(pod, 10, 0, 0).expect(c.want...)
			lowered := strings.HasPrefix(c.name, "lowered")
			if at := s.tr.ForeignAt(); at.IsZero() == lowered || lowered && !at.Equal(s.now) {
				t.Errorf("lowered by somebody else at %s", at)
			}
			s.restart(c.boot).at(sec(7)).read(host, 10, 0, 0).expect()
		})
	}
}

// TestLimitOfAStateThatHasNone: a state from before it was saved, and one saved before the first reading.
func TestLimitOfAStateThatHasNone(t *testing.T) {
	s := play(t)
	s.restart("b1")
	if limit := s.tr.State().Limit; limit != nil {
		t.Errorf("limit %d without a reading", *limit)
	}
	s.read(host, 10, 0, 0).expect()
	s.limit = 0 // a limit of 0 is one
	s.at(sec(1)).read(host, 10, 0, 0).expect("limit 1000-0").restart("b1")
	s.limit = 1000
	s.at(sec(2)).read(host, 10, 0, 0).expect("limit 0-1000")
}
