package remediate

import "testing"

// lastStep is the step of the last event step.confirmed.
func (s *script) lastStep() Step {
	s.t.Helper()
	var last Step
	for _, ev := range s.all {
		if ev.Type == EventStepConfirmed {
			last = ev.Data.(Step)
		}
	}
	return last
}

// TestForeignChangeEndsAStep has somebody else write the limit before the outcome is known.
func TestForeignChangeEndsAStep(t *testing.T) {
	for _, c := range []struct {
		name    string
		limit   uint64
		why     string
		restart bool
	}{
		{"lowered", 1500, "not persisted: somebody else set the limit to 1500, from 2000, before the outcome was known", false},
		{"taken back", 1000, "not persisted: somebody else set the limit to 1000, from 2000, before the outcome was known", false},
		{"raised", 3000, "not persisted: somebody else set the limit to 3000, from 2000, before the outcome was known", false},
		{"while down", 1500, "not persisted: somebody else set the limit to 1500, from 2000, before the outcome was known", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := stepped(t)
			s.at(sec(1.5)).read(host, 900, 12, 0)
			if c.restart {
				s.restart("b1")
			}
			s.limit = c.limit
			s.at(sec(2)).read(host, 900, 12, 0)
			got := s.lastStep()
			if got.ID != "s2000 at 1s" || got.Outcome != "" || got.Persisted != "" || got.Error != c.why || got.To != 2000 {
				t.Errorf("confirmed %+v", got)
			}
			if s.tr.Settling() || s.tr.State().Pending != nil {
				t.Error("its outcome is still awaited")
			}
			for at := sec(2.5); at < sec(10); at += sec(0.5) {
				s.at(at).read(host, 900, 12, 0).settles("")
			}
			s.restart("b1").at(sec(11)).read(host, 900, 12, 0).at(sec(14)).read(host, 900, 12, 0).settles("")
			if n := s.count(EventStepConfirmed); n != 1 {
				t.Errorf("booked %d times", n)
			}
		})
	}
}

// TestForeignChangeWhilePersisting: the outcome is known and the agent books it itself.
func TestForeignChangeWhilePersisting(t *testing.T) {
	s := stepped(t)
	s.at(sec(2)).read(host, 500, 12, 0).at(sec(3)).read(host, 500, 12, 0)
	step, ok := s.tr.Settle(s.now)
	if !ok {
		t.Fatal("does not settle")
	}
	s.limit = 1500
	s.at(sec(3.5)).read(host, 500, 12, 0).expect("limit 2000-1500")
	s.take(s.tr.Confirmed(s.now, step))
	s.expect("step.confirmed full 1000-2000 effective", "updated critical init drops=12")
	if s.tr.State().Pending != nil {
		t.Error("still pending")
	}
}

func TestAStepSupersedesAnother(t *testing.T) {
	s := stepped(t)
	s.at(sec(2)).read(host, 2000, 30, 0).step(host, ReasonFull, 4000)
	s.expect("step.applied full 2000-4000 ")
	s.at(sec(3.5)).read(host, 2000, 30, 0).settles("")
	s.at(sec(4.5)).read(host, 2000, 30, 0).settles(OutcomeEffective)
	s.expect("step.confirmed full 2000-4000 effective", "updated critical init drops=30")

	// One whose outcome is known is being persisted: the agent books it.
	s = stepped(t)
	s.at(sec(2)).read(host, 500, 12, 0).at(sec(3)).read(host, 500, 12, 0)
	if _, ok := s.tr.Settle(s.now); !ok {
		t.Fatal("does not settle")
	}
	s.step(host, ReasonManual, 4000).expect("step.applied manual 2000-4000 ")
}

// count is how many events of a type there were.
func (s *script) count(typ EventType) int {
	n := 0
	for _, ev := range s.all {
		if ev.Type == typ {
			n++
		}
	}
	return n
}
