package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

func budgetSim(t *testing.T, steps int) *sim {
	cfg := basic()
	cfg.StepsPerHour = steps
	cfg.Routes[0].Match.Kind = KindBudget
	return newSim(t, cfg)
}

// stepNow has a host take one step.
func (s *sim) stepNow(n int, reason remediate.Reason) {
	s.step(fmt.Sprintf("gva/a%d", n), remediate.EventStepApplied, fmt.Sprintf("s%d", n), reason, "")
}

func TestBudget(t *testing.T) {
	tests := []struct {
		name string
		do   func(*sim)
		held bool
	}{
		{"fewer than the hour has", func(s *sim) {
			for i := range 3 {
				s.stepNow(i, remediate.ReasonFull)
			}
		}, false},
		{"all that the hour has", func(s *sim) {
			for i := range 4 {
				s.stepNow(i, remediate.ReasonForecast)
			}
		}, true},
		{"the same step again", func(s *sim) {
			for range 9 {
				s.stepNow(1, remediate.ReasonFull)
			}
		}, false},
		{"by hand and at boot do not count", func(s *sim) {
			s.stepNow(1, remediate.ReasonManual)
			s.stepNow(2, remediate.ReasonBoot)
			for i := range 3 {
				s.stepNow(3+i, remediate.ReasonPressure)
			}
		}, false},
		{"decay counts, without an incident", func(s *sim) {
			for i := range 4 {
				s.f.Take(s.event("gva", "a", remediate.EventStepApplied, remediate.Step{
					ID: fmt.Sprint(i), At: s.now, From: 2, To: 1, Reason: remediate.ReasonDecay,
				}), s.now)
			}
		}, true},
		{"refused and failed ones do not count", func(s *sim) {
			for i := range 9 {
				s.step(fmt.Sprintf("gva/a%d", i), remediate.EventStepRefused, "", remediate.ReasonHeld, "")
				s.step(fmt.Sprintf("gva/a%d", i), remediate.EventStepFailed, fmt.Sprint(i), remediate.ReasonFull, "")
			}
		}, false},
		{"steps of two hours", func(s *sim) {
			s.stepNow(1, remediate.ReasonFull)
			s.pass(time.Hour)
			for i := range 3 {
				s.stepNow(2+i, remediate.ReasonFull)
			}
		}, false},
		{"old ones that come late", func(s *sim) {
			var late []Event
			for i := range 4 {
				late = append(late, s.event("gva", "a", remediate.EventStepApplied, remediate.Step{
					ID: fmt.Sprint(i), At: s.now, From: 1, To: 2, Reason: remediate.ReasonFull,
				}))
			}
			s.pass(2 * time.Hour)
			for _, ev := range late {
				s.f.Take(ev, s.now)
			}
		}, false},
		{"times ahead count as now", func(s *sim) {
			for i := range 4 {
				s.f.Take(s.event("gva", "a", remediate.EventStepApplied, remediate.Step{
					ID: fmt.Sprint(i), At: s.now.Add(24 * time.Hour), From: 1, To: 2, Reason: remediate.ReasonFull,
				}), s.now)
			}
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := budgetSim(t, 4)
			tt.do(s)
			s.pass(time.Second)
			wants := s.f.Wants()
			if (len(wants) == 1) != tt.held {
				t.Fatalf("it wants %+v", wants)
			}
			if !tt.held {
				s.want("")
				return
			}
			if w := wants[0]; w.Verb != "hold" || w.Until.Sub(s.now).Round(time.Minute) != time.Hour || w.ID != s.last().Group || !strings.Contains(w.Why, "4") {
				t.Errorf("it wants %+v", w)
			}
			if p := s.last(); p.Cause != oncall.CauseBudget || p.Severity != "critical" || !strings.Contains(oncall.Text(p.Notification), "until") {
				t.Errorf("the page says\n%s", oncall.Text(p.Notification))
			}
			s.want("trigger ops")
		})
	}
	t.Run("none is set", func(t *testing.T) {
		s := budgetSim(t, 0)
		for i := range 50 {
			s.stepNow(i, remediate.ReasonFull)
		}
		s.pass(time.Second)
		if s.f.Wants() != nil || len(s.sent) != 0 {
			t.Errorf("it wants %+v", s.f.Wants())
		}
	})
}

func TestBudgetHasRoomAgain(t *testing.T) {
	s := budgetSim(t, 4)
	for i := range 4 {
		s.stepNow(i, remediate.ReasonFull)
		s.pass(10 * time.Minute)
	}
	s.want("trigger ops")
	held := func(want bool) {
		t.Helper()
		if got := len(s.f.Wants()) == 1; got != want {
			t.Errorf("after %v held is %v", s.now.Sub(start), got)
		}
	}
	held(true)
	s.pass(20*time.Minute - time.Second) // the first step was at 0
	held(true)
	s.pass(time.Second)
	held(false)
	s.want("")
	s.stepNow(9, remediate.ReasonFull)
	s.pass(time.Second)
	held(true)
	s.want("") // one page while it lasts
	if g, ok := s.f.Group(s.f.Wants()[0].ID); !ok || g.Kind != KindBudget || !g.ClosedAt.IsZero() {
		t.Errorf("the group is %+v", g)
	}
	s.pass(40 * time.Minute)
	s.want("resolve ops")
	held(false)
}

// TestBudgetIsReleased: what somebody released is not held again until then, also after a restart, and is no other group's.
func TestBudgetIsReleased(t *testing.T) {
	s := budgetSim(t, 4)
	for i := range 4 {
		s.stepNow(i, remediate.ReasonFull)
	}
	s.pass(time.Second)
	w := s.f.Wants()[0]
	until := s.now.Add(10 * time.Minute)
	s.f.Release("another", until)
	s.pass(time.Second)
	if len(s.f.Wants()) != 1 {
		t.Error("the release of another group lets the fleet go on")
	}
	s.f.Release(w.ID, until)
	s.f.TellRelease(w.ID, "ada", until, s.now)
	released := func(want bool) {
		t.Helper()
		if got := s.f.Wants() == nil; got != want {
			t.Errorf("after %v released is %v", s.now.Sub(start), got)
		}
		if n := s.f.notification(s.f.groups[w.ID], new(s.only()), PageState{}); strings.Contains(oncall.Text(n), "holds automatic steps") == want {
			t.Errorf("after %v a page says\n%s", s.now.Sub(start), oncall.Text(n))
		}
	}
	s.stepNow(9, remediate.ReasonFull)
	s.pass(time.Minute)
	released(true)
	if g := s.only(); g.AckBy != "ada" || !g.says("ada released the fleet: it is not held for this before 03:10:01 UTC") {
		t.Errorf("the group is %+v", g)
	}
	s.f = reload(t, s.f, s.f.cfg)
	s.f.Release(w.ID, until)
	s.pass(until.Sub(s.now) - time.Second)
	released(true)
	s.pass(time.Second)
	released(false)
	s.want("trigger ops, acknowledge ops")
}

func TestBudgetOutlivesARestart(t *testing.T) {
	s := budgetSim(t, 4)
	for i := range 4 {
		s.stepNow(i, remediate.ReasonFull)
	}
	s.pass(time.Minute)
	s.want("trigger ops")
	before := s.f.Wants()
	s.f = reload(t, s.f, s.f.cfg)
	s.pass(time.Minute)
	if got := s.f.Wants(); len(got) != 1 || got[0] != before[0] {
		t.Errorf("after a restart it wants %+v, before %+v", got, before)
	}
	s.want("")
	s.pass(2 * time.Hour)
	s.want("resolve ops")
}
