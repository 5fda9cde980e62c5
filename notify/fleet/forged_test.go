package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

// forged has one host of a site open and close incidents, one after the other, at whatever times it says.
func forged(s *sim, n int, opened func(k int) time.Time, how ...what) {
	for k := range n {
		at := opened(k)
		where := fmt.Sprintf("gva/evil/%d-%d", s.seq, k)
		i := func(typ remediate.EventType, done bool) {
			ev := s.incidentEvent(typ, where, append([]what{func(i *remediate.Incident) {
				i.OpenedAt = at
				if done {
					closed := at
					i.ClosedAt = &closed
				}
			}}, how...)...)
			ev.Time = at
			s.f.Take(ev, s.now)
		}
		i(remediate.EventIncidentOpened, false)
		i(remediate.EventIncidentClosed, true)
	}
}

// times are ways of lying about the time.
var times = []struct {
	name string
	at   func(k int) time.Time
}{
	{"since 1970, on and on", func(k int) time.Time { return time.Unix(int64(k)*3600, 0) }},
	{"since 1970, back", func(k int) time.Time { return time.Unix(int64(1_000_000-k)*600, 0) }},
	{"the last day, to and fro", func(k int) time.Time { return start.Add(-time.Duration(k*7919%86400) * time.Second) }},
	{"times to come", func(k int) time.Time { return start.Add(time.Duration(k) * 24 * time.Hour) }},
}

// TestForgedTimesMakeFewGroups: what a host says of the time makes it no more groups than one in GroupWait by the hub's clock,
// in a site that is quiet and in one with a trouble that somebody has acknowledged.
func TestForgedTimesMakeFewGroups(t *testing.T) {
	for _, tt := range times {
		for _, acknowledged := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, acknowledged %v", tt.name, acknowledged), func(t *testing.T) {
				s := newSim(t, basic())
				if acknowledged {
					s = told1(t, basic())
					s.ack(s.only().ID)
				}
				begun := s.now
				before := len(s.f.groups)
				for range 6 {
					forged(s, 200, tt.at, critical)
					s.f.Tick(s.now)
					s.now = s.now.Add(time.Second)
				}
				most := before + 2 + int(s.now.Sub(begun)/s.f.cfg.GroupWait)
				if n := len(s.f.groups); n > most {
					t.Errorf("%d groups, want %d at most", n, most)
				}
				check(t, s.f)
			})
		}
	}
}

// TestForgedPastMakesFewGroups: the same for incidents that are called old.
func TestForgedPastMakesFewGroups(t *testing.T) {
	for _, tt := range times {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, basic())
			forged(s, 5000, tt.at, old)
			s.pass(time.Second)
			if n := len(s.f.groups); n > 2*(30+24+30)+2 {
				t.Errorf("%d groups", n)
			}
			check(t, s.f)
		})
	}
}

// TestPromiseForgedTimes: beside a host that lies about the time, another one of its site that refuses connections is told
// of as soon as it would be without.
func TestPromiseForgedTimes(t *testing.T) {
	var late time.Duration
	for _, tt := range times {
		t.Run(tt.name, func(t *testing.T) {
			wait := func(evil bool) time.Duration {
				s := told1(t, basic())
				s.ack(s.only().ID)
				s.pass(10 * time.Minute)
				for k := range 60 {
					if ev := s.incidentEvent(remediate.EventIncidentOpened, fmt.Sprintf("gva/evil/%d", k), opened(tt.at(k))); evil {
						ev.Time = tt.at(k)
						s.f.Take(ev, s.now)
					}
				}
				s.pass(time.Second)
				s.open("gva/good")
				begun := s.now
				for s.now.Sub(begun) < time.Hour {
					s.pass(time.Second)
					for _, p := range s.sent {
						if strings.Contains(strings.Join(p.Hosts, " "), "good") {
							return s.now.Sub(begun)
						}
					}
				}
				return time.Hour
			}
			with, without := wait(true), wait(false)
			if with > without+5*time.Second {
				t.Errorf("the page goes out after %v, without the other host after %v", with, without)
			}
			late = max(late, with-without)
		})
	}
	testhost.Held(t, "4.16 forged times", "%d ways to lie, in 60 incidents each: the page of another host comes %.0f s later at the most", len(times), late.Seconds())
}

// TestForgedGroupsLeaveFirst: groups that nobody was told of make room before one of which people were.
func TestForgedGroupsLeaveFirst(t *testing.T) {
	s := told1(t, basic())
	told := s.only().ID
	s.close("gva/a1")
	s.pass(time.Minute)
	for n := range mostGroups + 10 {
		where := fmt.Sprintf("s%d/h", n)
		s.open(where, warning)
		s.close(where)
	}
	s.pass(10 * time.Minute)
	if _, ok := s.f.Group(told); !ok {
		t.Error("the group of which people were told is gone")
	}
	if n := len(s.f.groups); n > mostGroups {
		t.Errorf("%d groups are kept", n)
	}
}
