package remediate

import (
	"encoding/json"
	"testing"
)

// lost plays a step that is written and journalled with its incident, and a kill before either is saved. It returns the
// journalled incident and the step.
func (s *script) lost(ns NetNS) ([]byte, Step) {
	s.t.Helper()
	saved, err := json.Marshal(s.tr.State())
	if err != nil {
		s.t.Fatal(err)
	}
	s.read(ns, 1000, 12, 0)
	incident, err := s.tr.Ongoing(s.incident().ID)
	if err != nil {
		s.t.Fatal(err)
	}
	s.step(ns, ReasonFull, 2000)
	step := s.all[len(s.all)-1].Data.(Step)
	var st TrackerState
	if err := json.Unmarshal(saved, &st); err != nil {
		s.t.Fatal(err)
	}
	s.cfg.Start = s.now
	s.tr = NewTracker(s.cfg, st)
	return incident, step
}

// recover hands over what was lost.
func (s *script) recover(incident []byte, step Step) *script {
	s.t.Helper()
	events, err := s.tr.Reopen(s.now, incident)
	if err != nil {
		s.t.Fatal(err)
	}
	s.take(events)
	s.take(s.tr.Applied(s.now, step, false))
	return s
}

// TestReopen: the incident goes on, all that was refused is in it, and what is told again has the id of the first time.
func TestReopen(t *testing.T) {
	s := play(t)
	s.read(host, 300, 0, 0).at(sec(1))
	incident, step := s.lost(host)
	told := s.all
	s.fresh, s.all = nil, nil
	s.recover(incident, step).expect("opened critical init drops=12", "step.applied full 1000-2000 ")
	for i, ev := range s.all {
		if ev.ID != told[i].ID || ev.Type != told[i].Type {
			t.Errorf("told as %s %s before the crash, as %s %s after it", told[i].Type, told[i].ID, ev.Type, ev.ID)
		}
	}
	s.read(host, 1100, 40, 2).at(sec(3)).read(host, 1100, 40, 2).at(sec(4)).read(host, 1100, 40, 2).settles(OutcomeEffective)
	if i := s.incident(); i.ID != step.IncidentID || i.Drops != 40 || i.EarlyDrops != 2 || i.Outcome != OutcomeEffective {
		t.Errorf("incident %+v", i)
	}
	s.at(minutes(10)).quiet()
}

// TestReopenKnown: what the state knows stays as it is.
func TestReopenKnown(t *testing.T) {
	for name, given := range map[string]func(s *script){
		"open":         func(*script) {},
		"closed":       func(s *script) { s.take(s.tr.Gone(s.now, host.Inode)) },
		"another boot": func(s *script) { s.cfg.BootID = "b2" },
	} {
		s := play(t)
		s.read(host, 300, 0, 0).at(sec(1)).read(host, 1000, 12, 0)
		incident, err := s.tr.Ongoing(s.incident().ID)
		if err != nil {
			t.Fatal(err)
		}
		given(s)
		s.restart(s.cfg.BootID)
		s.fresh = nil
		events, err := s.tr.Reopen(s.now, incident)
		if len(events) > 0 || err != nil {
			t.Errorf("%s: %v, %v", name, events, err)
		}
	}
	s := play(t)
	if b, err := s.tr.Ongoing("no such"); b != nil || err != nil {
		t.Errorf("%s, %v", b, err)
	}
	if _, err := s.tr.Reopen(s.now, []byte("{")); err == nil {
		t.Error("a damaged incident is taken")
	}
}

// TestReopenAfterAnother: the incident that the state has was closed before the lost one was opened.
func TestReopenAfterAnother(t *testing.T) {
	s := play(t)
	s.read(host, 950, 0, 0)
	saved, err := json.Marshal(s.tr.State())
	if err != nil {
		t.Fatal(err)
	}
	s.take(s.tr.Gone(s.now, host.Inode))
	s.at(sec(1)).read(host, 300, 0, 0).at(sec(2))
	incident, step := s.lost(host)
	var st TrackerState
	if err := json.Unmarshal(saved, &st); err != nil {
		t.Fatal(err)
	}
	s.tr = NewTracker(s.cfg, st)
	s.fresh = nil
	s.recover(incident, step).expect("closed warning init", "opened critical init drops=12", "step.applied full 1000-2000 ")
	if i := s.incident(); i.ID != step.IncidentID {
		t.Errorf("open: %+v", i)
	}
}

// TestRecoveredStepFromTheFuture: the clock was set back while the program was away.
func TestRecoveredStepFromTheFuture(t *testing.T) {
	s := play(t)
	s.read(host, 300, 0, 0).at(sec(1))
	incident, step := s.lost(host)
	s.fresh = nil
	step.At = s.now.AddDate(1, 0, 0)
	s.recover(incident, step)
	s.read(host, 1000, 12, 0).at(sec(3)).read(host, 1000, 12, 0).settles(OutcomeEffective)
}
