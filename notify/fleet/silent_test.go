package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

// seen has n hosts of a site seen now, from the first on.
func (s *sim) seen(site string, first, n int) {
	for i := first; i < first+n; i++ {
		s.f.Seen(HostSeen{Site: site, Host: fmt.Sprintf("h%d", i), At: s.now, Max: 100, Count: 50, Fill: 0.5, Mode: "observe"}, s.now)
	}
}

// stop has the agent of a host at gva say goodbye, at a time by the host's own clock.
func (s *sim) stop(host string, at time.Time) {
	ev := s.event("gva", host, remediate.EventAgentStopped, remediate.AgentState{})
	ev.Time = at
	s.f.Take(ev, s.now)
}

// live lets time go by while hosts are seen each minute.
func (s *sim) live(d time.Duration, seen func()) {
	s.t.Helper()
	for end := s.now.Add(d); s.now.Before(end); {
		seen()
		s.pass(time.Minute)
	}
}

func (s *sim) state(where string) HostState {
	s.t.Helper()
	site, name, _ := split(where)
	h, _, ok := s.f.Host(site, name)
	if !ok {
		s.t.Fatalf("%s is not known", where)
	}
	return h.State
}

func silentSim(t *testing.T) *sim {
	s := newSim(t, basic())
	s.f.Connected(true, s.now)
	return s
}

func TestSilentHost(t *testing.T) {
	tests := []struct {
		name string
		do   func(*sim)
		want HostState
	}{
		{"just before", func(s *sim) { s.pass(3*time.Minute - time.Millisecond) }, HostUp},
		{"after the time", func(s *sim) { s.pass(3 * time.Minute) }, HostSilent},
		{"seen again", func(s *sim) {
			s.pass(4 * time.Minute)
			s.seen("gva", 0, 1)
		}, HostUp},
		{"an event is a sign of life", func(s *sim) {
			s.pass(2 * time.Minute)
			s.open("gva/h0")
			s.pass(2 * time.Minute)
		}, HostUp},
		{"an old event is none", func(s *sim) {
			ev := s.event("gva", "h0", remediate.EventLimitChanged, remediate.LimitChange{})
			s.pass(4 * time.Minute)
			s.f.Take(ev, s.now)
		}, HostSilent},
		{"one that said goodbye is stopped", func(s *sim) {
			s.f.Take(s.event("gva", "h0", remediate.EventAgentStopped, remediate.AgentState{}), s.now)
			s.pass(time.Hour)
		}, HostStopped},
		{"a state from before the goodbye does not bring it back", func(s *sim) {
			before := s.now
			s.pass(time.Second)
			s.f.Take(s.event("gva", "h0", remediate.EventAgentStopped, remediate.AgentState{}), s.now)
			s.f.Seen(HostSeen{Site: "gva", Host: "h0", At: before, Max: 1}, s.now)
		}, HostStopped},
		{"nor one that the server took later than the goodbye of a clock that is behind", func(s *sim) {
			behind := 3 * time.Second
			came, made := s.now, s.now.Add(-behind)
			s.pass(2 * time.Second)
			s.stop("h0", s.now.Add(-behind))
			s.f.Seen(HostSeen{Site: "gva", Host: "h0", At: came, Made: made}, s.now)
			s.pass(time.Hour)
		}, HostStopped},
		{"nor one of a clock that is ahead", func(s *sim) {
			ahead := time.Minute
			came, made := s.now, s.now.Add(ahead)
			s.pass(2 * time.Second)
			s.stop("h0", s.now.Add(ahead))
			s.f.Seen(HostSeen{Site: "gva", Host: "h0", At: came, Made: made}, s.now)
			s.pass(time.Hour)
		}, HostStopped},
		{"nor where another hub leads", func(s *sim) {
			came, made := s.now, s.now.Add(-3*time.Second)
			s.pass(2 * time.Second)
			s.stop("h0", s.now.Add(-3*time.Second))
			s.f = reload(t, s.f, basic())
			s.f.Connected(true, s.now)
			s.f.Seen(HostSeen{Site: "gva", Host: "h0", At: came, Made: made}, s.now)
			s.pass(time.Hour)
		}, HostStopped},
		{"one from after it does, also where no event tells of the start", func(s *sim) {
			s.stop("h0", s.now.Add(-3*time.Second))
			s.pass(time.Second)
			s.f.Seen(HostSeen{Site: "gva", Host: "h0", At: s.now, Made: s.now.Add(-3 * time.Second)}, s.now)
		}, HostUp},
		{"started again", func(s *sim) {
			s.f.Take(s.event("gva", "h0", remediate.EventAgentStopped, remediate.AgentState{}), s.now)
			s.pass(time.Second)
			s.f.Take(s.event("gva", "h0", remediate.EventAgentStarted, remediate.AgentState{}), s.now)
		}, HostUp},
		{"a goodbye that comes again after the start", func(s *sim) {
			stop := s.event("gva", "h0", remediate.EventAgentStopped, remediate.AgentState{})
			s.f.Take(stop, s.now)
			s.pass(time.Second)
			s.f.Take(s.event("gva", "h0", remediate.EventAgentStarted, remediate.AgentState{}), s.now)
			s.f.Take(stop, s.now)
		}, HostUp},
		{"not while the hub is cut off", func(s *sim) {
			s.f.Connected(false, s.now)
			s.pass(time.Hour)
		}, HostUp},
		{"not until the time has passed since the hub came back", func(s *sim) {
			s.f.Connected(false, s.now)
			s.pass(time.Hour)
			s.f.Connected(true, s.now)
			s.pass(3*time.Minute - time.Millisecond)
		}, HostUp},
		{"but then", func(s *sim) {
			s.f.Connected(false, s.now)
			s.pass(time.Hour)
			s.f.Connected(true, s.now)
			s.pass(3 * time.Minute)
		}, HostSilent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, basic())
			s.now = start.Add(-3 * time.Minute)
			s.f.Connected(true, s.now)
			s.now = start
			s.seen("gva", 0, 1)
			tt.do(s)
			if got := s.state("gva/h0"); got != tt.want {
				t.Errorf("it is %s, want %s", got, tt.want)
			}
			check(t, s.f)
		})
	}
}

// silence is what happens to hosts, and what comes of it.
type silence struct {
	name string
	do   func(*sim)
	want []string // the groups
	sent string   // but for updates
}

// play has a silence happen to a fleet.
func (c silence) play(t *testing.T) *sim {
	t.Helper()
	s := silentSim(t)
	c.do(s)
	s.wantGroups(c.want...)
	s.sent = withoutUpdates(s.sent)
	s.want(c.sent)
	check(t, s.f)
	return s
}

func TestSilentSite(t *testing.T) {
	tests := []silence{
		{"half of the hosts", func(s *sim) {
			s.seen("gva", 0, 10)
			s.live(5*time.Minute, func() { s.seen("gva", 0, 5) })
		}, []string{"silent  5/5 open"}, "trigger ops"},
		{"fewer than half", func(s *sim) {
			s.seen("gva", 0, 10)
			s.live(5*time.Minute, func() { s.seen("gva", 0, 6) })
		}, nil, ""},
		{"all of two hosts are not enough at once", func(s *sim) {
			s.seen("gva", 0, 2)
			s.pass(10 * time.Minute)
		}, nil, ""},
		{"all of three are", func(s *sim) {
			s.seen("gva", 0, 3)
			s.pass(10 * time.Minute)
		}, []string{"silent  3/3 open"}, "trigger ops"},
		{"those that were silent long before do not count", func(s *sim) {
			s.seen("gva", 0, 100)
			for k := range 60 { // one by one
				s.live(5*time.Minute, func() { s.seen("gva", k+1, 99-k) })
			}
			s.pass(10 * time.Minute)
		}, []string{"silent  40/40 open"}, "trigger ops"},
		{"those that said goodbye do not count", func(s *sim) {
			s.seen("gva", 0, 10)
			for i := range 10 {
				s.f.Take(s.event("gva", fmt.Sprintf("h%d", i), remediate.EventAgentStopped, remediate.AgentState{}), s.now)
			}
			s.pass(10 * time.Minute)
		}, nil, ""},
		{"slowly, one by one, is no fleet incident", func(s *sim) {
			s.seen("gva", 0, 10)
			for k := range 9 {
				s.live(5*time.Minute, func() { s.seen("gva", k+1, 9-k) })
			}
		}, nil, ""},
		{"all sites at once are one group", func(s *sim) {
			for i := range 20 {
				s.seen(fmt.Sprintf("s%d", i), 0, 5)
			}
			s.pass(10 * time.Minute)
		}, []string{"silent  100/100 open"}, "trigger ops"},
		{"a site an hour later is another group", func(s *sim) {
			s.seen("gva", 0, 5)
			s.live(time.Hour, func() { s.seen("zrh", 0, 5) })
			s.pass(10 * time.Minute)
		}, []string{"silent  5/5 open", "silent  5/5 open"}, "trigger ops, trigger ops"},
		{"over when all are back", func(s *sim) {
			s.seen("gva", 0, 5)
			s.pass(10 * time.Minute)
			s.seen("gva", 0, 4)
			s.pass(time.Minute)
			s.want("trigger ops, update ops")
			s.seen("gva", 0, 5)
			s.pass(time.Minute)
		}, []string{"silent  0/5 closed"}, "resolve ops"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.play(t)
		})
	}
}

func withoutUpdates(pages []Page) (out []Page) {
	for _, p := range pages {
		if p.Action != oncall.ActionUpdate {
			out = append(out, p)
		}
	}
	return out
}

func TestSilentSiteText(t *testing.T) {
	s := silentSim(t)
	s.seen("gva", 0, 5)
	s.pass(10 * time.Minute)
	text := oncall.Text(s.last().Notification)
	for _, part := range []string{"nothing heard of 5 hosts at gva", "h0"} {
		if !strings.Contains(text, part) {
			t.Errorf("the text does not say %q:\n%s", part, text)
		}
	}
}

func TestIncidentOfASilentHostStaysOpen(t *testing.T) {
	s := silentSim(t)
	s.open("gva/a1")
	s.open("gva/a2")
	s.live(time.Hour, func() { s.f.Seen(HostSeen{Site: "gva", Host: "a1", At: s.now, Max: 1}, s.now) })
	s.close("gva/a1")
	s.pass(10 * time.Second)
	g := s.only()
	if g.OpenHosts != 1 || g.SilentHosts != 1 || !g.says("a2 fell silent: its incident stays open") {
		t.Errorf("the group is %+v", g)
	}
	s.sent = nil
	s.open("gva/a3")
	s.pass(time.Hour)
	if text := oncall.Text(s.last().Notification); !strings.Contains(text, "fell silent meanwhile") {
		t.Errorf("the text does not say so:\n%s", text)
	}
}

func TestHostsAreForgotten(t *testing.T) {
	s := silentSim(t)
	s.seen("gva", 0, 2)
	s.open("gva/h0")
	s.live(30*24*time.Hour-time.Hour, func() { s.seen("gva", 1, 1) })
	if h, _, known := s.f.Host("gva", "h0"); !known || h.Open != 1 {
		t.Errorf("within 30 days: %+v, known: %v", h, known)
	}
	s.live(2*time.Hour, func() { s.seen("gva", 1, 1) })
	if _, _, known := s.f.Host("gva", "h0"); known {
		t.Error("a host that is silent for a week is still known")
	}
	if s.state("gva/h1") != HostUp || len(s.f.Hosts()) != 1 {
		t.Errorf("the hosts are %+v", s.f.Hosts())
	}
	check(t, s.f)
	for _, g := range s.f.Groups() {
		if g.ClosedAt.IsZero() {
			t.Errorf("its group is open: %+v", g)
		}
	}
}
