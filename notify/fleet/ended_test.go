package fleet

import (
	"fmt"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// listed has the host gva/a1 tell a state that lists incidents.
func (s *sim) listed(ids ...string) {
	s.f.Seen(HostSeen{Site: "gva", Host: "a1", At: s.now, Max: 1, Incidents: ids, Listed: true}, s.now)
}

func TestIncidentsThatAreNotListed(t *testing.T) {
	tests := []struct {
		name  string
		do    func(*sim)
		ended string
	}{
		{"two states in a row", func(s *sim) {
			s.pass(time.Minute)
			s.listed()
			s.pass(time.Minute)
			s.listed("i-other")
		}, endedUnlisted},
		{"one is not enough", func(s *sim) {
			s.pass(time.Minute)
			s.listed()
			s.pass(time.Minute)
		}, ""},
		{"the same state told again is not another", func(s *sim) {
			s.pass(time.Minute)
			s.listed()
			s.listed()
		}, ""},
		{"one that lists it between", func(s *sim) {
			for _, ids := range [][]string{nil, {"i-a1"}, nil} {
				s.pass(time.Minute)
				s.listed(ids...)
			}
		}, ""},
		{"an event between", func(s *sim) {
			s.pass(time.Minute)
			s.listed()
			s.pass(time.Minute)
			s.update("gva/a1", drops(9))
			s.pass(time.Minute)
			s.listed()
		}, ""},
		{"states on the heels of its opening", func(s *sim) {
			for range 5 {
				s.now = s.now.Add(time.Second)
				s.listed()
			}
		}, ""},
		{"states without a list", func(s *sim) {
			for range 5 {
				s.pass(time.Minute)
				s.f.Seen(HostSeen{Site: "gva", Host: "a1", At: s.now, Max: 1}, s.now)
			}
		}, ""},
		{"states of another host", func(s *sim) {
			for range 5 {
				s.pass(time.Minute)
				s.f.Seen(HostSeen{Site: "gva", Host: "a2", At: s.now, Max: 1, Listed: true}, s.now)
			}
		}, ""},
		{"over a restart it needs two more", func(s *sim) {
			s.pass(time.Minute)
			s.listed()
			s.f = reload(s.t, s.f, s.f.cfg)
			s.pass(time.Minute)
			s.listed()
			if _, list, _ := s.f.Host("gva", "a1"); list[0].Ended != "" {
				s.t.Error("one state after a restart was enough")
			}
			s.pass(time.Minute)
			s.listed()
		}, endedUnlisted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, basic())
			s.open("gva/a1")
			tt.do(s)
			s.pass(5 * time.Second)
			_, list, _ := s.f.Host("gva", "a1")
			if list[0].Ended != tt.ended || list[0].ClosedAt.IsZero() == (tt.ended != "") {
				t.Errorf("it ended at %v, %q", list[0].ClosedAt, list[0].Ended)
			}
			if g := s.f.Groups()[0]; g.ClosedAt.IsZero() == (tt.ended != "") || g.says(endedUnlisted) != (tt.ended != "") {
				t.Errorf("the group is %+v", g)
			}
			check(t, s.f)
			again := reload(t, s.f, s.f.cfg)
			if _, l, _ := again.Host("gva", "a1"); l[0].Ended != tt.ended {
				t.Errorf("saved it is %q", l[0].Ended)
			}
		})
	}
}

// TestEndedIncidentsComeBack has hosts tell more of incidents that were ended without their word.
func TestEndedIncidentsComeBack(t *testing.T) {
	unlisted := func(s *sim) {
		for range 2 {
			s.pass(time.Minute)
			s.listed()
		}
	}
	byHand := func(s *sim) {
		s.pass(time.Minute)
		if err := s.f.Resolve("i-a1", "mia", s.now); err != nil {
			s.t.Fatal(err)
		}
	}
	tests := []struct {
		name string
		end  func(*sim)
		then func(*sim)
		open bool
		sent string
	}{
		{"not listed, and told of later", unlisted, func(s *sim) { s.update("gva/a1", warning, drops(9)) }, true, "trigger ops"},
		{"within the wait it goes on", unlisted, func(s *sim) {}, false, ""},
		{"not listed, and an old event", unlisted, func(s *sim) {
			ev := s.incidentEvent(remediate.EventIncidentUpdated, "gva/a1", warning)
			ev.Time = start
			s.f.Take(ev, s.now)
		}, false, ""},
		{"not listed, and its end", unlisted, func(s *sim) { s.close("gva/a1", warning, drops(77)) }, false, ""},
		{"by hand, and told of later", byHand, func(s *sim) { s.update("gva/a1", warning, drops(9)) }, false, ""},
		{"by hand, and worse", byHand, func(s *sim) { s.update("gva/a1", critical) }, true, "trigger ops"},
		{"by hand, and another", byHand, func(s *sim) { s.open("gva/a1/other", warning) }, true, "trigger ops"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, basic())
			s.open("gva/a1", warning)
			tt.end(s)
			s.pass(time.Minute)
			s.want("trigger ops, resolve ops")
			tt.then(s)
			s.pass(10 * time.Second)
			s.want(tt.sent)
			open := false
			for _, g := range s.f.Groups() {
				open = open || g.ClosedAt.IsZero()
			}
			if open != tt.open {
				t.Errorf("a group is open: %v", open)
			}
			check(t, s.f)
			if tt.open {
				s.close("gva/a1", critical)
				s.close("gva/a1/other")
				s.pass(time.Minute)
				s.want("resolve ops")
			}
		})
	}
	t.Run("in a group that is open still", func(t *testing.T) {
		s := newSim(t, basic())
		s.open("gva/a1")
		s.open("gva/a2")
		unlisted(s)
		s.want("trigger ops")
		if g := s.only(); g.OpenHosts != 1 {
			t.Errorf("%d hosts are open", g.OpenHosts)
		}
		s.update("gva/a1", drops(9))
		if g := s.only(); g.OpenHosts != 2 || !g.says("its incident lasts") {
			t.Errorf("%d hosts are open", g.OpenHosts)
		}
		check(t, s.f)
	})
}

func TestResolveOfASilentSite(t *testing.T) {
	s := silentSim(t)
	s.seen("gva", 0, 5)
	s.pass(4 * time.Minute)
	s.want("trigger ops")
	if err := s.f.Resolve(s.only().ID, "mia", s.now); err != nil {
		t.Fatal(err)
	}
	s.pass(3 * time.Hour)
	s.want("resolve ops")
	s.live(10*time.Minute, func() { s.seen("gva", 0, 5) })
	s.pass(10 * time.Minute)
	s.want("trigger ops")
	check(t, s.f)
}

func TestResolveOfTheBudget(t *testing.T) {
	cfg := basic()
	cfg.StepsPerHour = 2
	s := newSim(t, cfg)
	for i := range 3 {
		s.open(fmt.Sprintf("gva/a%d", i))
		s.step(fmt.Sprintf("gva/a%d", i), remediate.EventStepApplied, fmt.Sprint(i), remediate.ReasonFull, "")
	}
	s.pass(time.Second)
	for _, g := range s.f.Groups() {
		if g.Kind == KindBudget {
			if err := s.f.Resolve(g.ID, "mia", s.now); err == nil {
				t.Error("the hold can be ended by hand")
			}
			return
		}
	}
	t.Error("there is no group of the budget")
}
