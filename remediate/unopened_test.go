package remediate

import "testing"

// recovered is the step of an incident that was lost when the agent was killed.
func (s *script) recovered(reason Reason) *script {
	step := Step{ID: "lost", IncidentID: "of the lost", At: s.now, From: s.limit, To: 2000, Reason: reason, NetNS: host}
	s.limit = step.To
	s.take(s.tr.Applied(s.now, step, false))
	return s
}

// TestIncidentOfARecoveredStep: the next incident in the namespace is the one that the step names.
func TestIncidentOfARecoveredStep(t *testing.T) {
	for _, c := range []struct {
		name    string
		given   func(*script)
		adopted bool
	}{
		{"full", func(s *script) { s.recovered(ReasonFull) }, true},
		{"pressure", func(s *script) { s.recovered(ReasonPressure) }, true},
		{"by hand", func(s *script) { s.recovered(ReasonManual) }, false},
		{"killed again", func(s *script) { s.recovered(ReasonFull).restart("b1").restart("b1") }, true},
		{"another boot", func(s *script) { s.recovered(ReasonFull).restart("b2") }, false},
		{"just before it would have closed", func(s *script) { s.recovered(ReasonFull).at(minutes(2) - 1) }, true},
		{"when it would have closed", func(s *script) { s.recovered(ReasonFull).at(minutes(2)) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := play(t)
			c.given(s)
			now := s.now
			s.read(pod, 1990, 0, 0).read(host, 1990, 0, 0)
			var other, own Incident
			for _, i := range s.tr.Open() {
				if i.NetNS.Init {
					own = i
				} else {
					other = i
				}
			}
			if other.ID == "of the lost" || other.ID == "" {
				t.Errorf("the incident of another namespace has the id %q", other.ID)
			}
			if (own.ID == "of the lost") != c.adopted || !own.OpenedAt.Equal(now) {
				t.Errorf("incident %+v; adopted: %v", own, c.adopted)
			}
			for _, a := range s.tr.Asks(now) {
				if own := a.Reading.NetNS.Init; a.LastStep.IsZero() == (own && c.adopted) {
					t.Errorf("asks %+v: the cooldown does not hold", a)
				}
			}
			s.take(s.tr.Gone(s.now, host.Inode)) // and the id is used once
			s.read(host, 1990, 0, 0)
			for _, i := range s.tr.Open() {
				if i.ID == "of the lost" {
					t.Error("the id is used twice")
				}
			}
		})
	}
}

// TestStepOfAClosedIncident: its id is not given to another one.
func TestStepOfAClosedIncident(t *testing.T) {
	s := play(t)
	s.read(host, 950, 0, 0)
	step := Step{ID: "late", IncidentID: s.incident().ID, At: s.now, From: 1000, To: 2000, Reason: ReasonFull, NetNS: host}
	s.take(s.tr.Gone(s.now, host.Inode))
	s.limit = 2000
	s.take(s.tr.Applied(s.now, step, false))
	s.at(sec(1)).read(host, 1990, 0, 0)
	if i := s.incident(); i.ID == step.IncidentID {
		t.Error("an incident that was closed is opened again")
	}
}
