package fleet

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/notify/oncall"
)

// told1 has one host in trouble, of which people were told.
func told1(t *testing.T, cfg Config) *sim {
	t.Helper()
	s := newSim(t, cfg)
	s.open("gva/a1")
	s.pass(5 * time.Second)
	s.want("trigger ops")
	return s
}

func (s *sim) ack(id string) {
	s.t.Helper()
	if err := s.f.Acknowledge(id, "mia", s.now); err != nil {
		s.t.Fatal(err)
	}
	s.pass(0)
}

// TestNewsWakes holds when a host that refuses connections is news to those who were told of a trouble at its site.
func TestNewsWakes(t *testing.T) {
	tests := []struct {
		name string
		do   func(*sim)
		sent string
		want []string
	}{
		{"within the window it joins, unacknowledged", func(s *sim) {
			s.pass(time.Minute)
			s.open("gva/b1")
			s.pass(time.Minute)
		}, "", []string{"full gva 2/2 open"}},
		{"after the window it is news", func(s *sim) {
			s.pass(10 * time.Minute)
			s.open("gva/b1")
			s.pass(5 * time.Second)
		}, "trigger ops", []string{"full gva 1/1 open", "full gva 1/1 open"}},
		{"acknowledged, it is news within the window too, after the time between updates", func(s *sim) {
			s.ack(s.only().ID)
			s.pass(30 * time.Second)
			s.open("gva/b1")
			s.pass(4*time.Minute + 29*time.Second)
			s.want("acknowledge ops")
			s.pass(time.Second)
		}, "trigger ops", []string{"full gva 1/1 open", "full gva 1/1 open"}},
		{"acknowledged long ago, it pages after the usual wait", func(s *sim) {
			s.ack(s.only().ID)
			s.pass(9 * time.Hour)
			for i := range 30 {
				s.open(fmt.Sprintf("gva/b%d", i))
			}
			s.pass(4 * time.Second)
			s.want("acknowledge ops")
			s.pass(time.Second)
			if p := s.last(); p.HostsTotal != 30 {
				s.t.Errorf("the page is of %d hosts, want those that are new", p.HostsTotal)
			}
		}, "trigger ops", []string{"full gva 1/1 open", "full gva 30/30 open"}},
		{"what fills is no news", func(s *sim) {
			s.ack(s.only().ID)
			s.pass(time.Hour)
			s.open("gva/b1", warning)
			s.pass(time.Hour)
			s.sent = slices.DeleteFunc(s.sent, func(p Page) bool { return p.Cause == oncall.CauseFilling }) // which is told of as such
		}, "acknowledge ops", []string{"full gva 1/1 open", "filling gva 1/1 open"}},
		{"but it is once it refuses connections", func(s *sim) {
			s.ack(s.only().ID)
			s.open("gva/b1", warning)
			s.pass(time.Hour)
			s.want("acknowledge ops, trigger ops")
			s.update("gva/b1", critical)
			s.pass(5 * time.Second)
		}, "resolve ops, trigger ops", []string{"filling gva 0/0 closed", "full gva 1/1 open", "full gva 1/1 open"}},
		{"another site has nothing to do with it", func(s *sim) {
			s.ack(s.only().ID)
			s.open("zrh/b1")
			s.pass(5 * time.Second)
		}, "acknowledge ops, trigger ops", []string{"full gva 1/1 open", "full zrh 1/1 open"}},
		{"a later one joins the news", func(s *sim) {
			s.pass(10 * time.Minute)
			s.open("gva/b1")
			s.pass(time.Minute)
			s.open("gva/b2")
			s.pass(time.Minute)
		}, "trigger ops", []string{"full gva 1/1 open", "full gva 2/2 open"}},
		{"one that nobody was told of takes all", func(s *sim) {
			s.silence(Silence{Site: "zrh", Until: s.now.Add(9 * time.Hour)})
			s.open("zrh/a1")
			s.pass(time.Hour)
			s.open("zrh/a2")
			s.pass(time.Minute)
		}, "", []string{"full gva 1/1 open", "full zrh 2/2 open"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := told1(t, basic())
			tt.do(s)
			s.sent = withoutUpdates(s.sent)
			s.want(tt.sent)
			s.wantGroups(tt.want...)
			check(t, s.f)
			s.f = reload(t, s.f, s.f.cfg)
			s.pass(time.Second)
			s.wantGroups(tt.want...)
			s.sent = withoutUpdates(s.sent)
			s.want("")
		})
	}
}

// TestNewsIsBounded has a host fail every three minutes for six hours beside one that stays open: each is news.
func TestNewsIsBounded(t *testing.T) {
	for _, acknowledged := range []bool{false, true} {
		t.Run(fmt.Sprintf("acknowledged %v", acknowledged), func(t *testing.T) {
			s := told1(t, basic())
			var triggers []time.Time
			for i := range 120 {
				if acknowledged {
					for _, g := range s.f.Groups() {
						if len(g.Pages) == 0 {
							continue
						}
						if err := s.f.Acknowledge(g.ID, "mia", s.now); err != nil {
							t.Fatal(err)
						}
					}
				}
				s.open(fmt.Sprintf("gva/b%d", i))
				s.pass(3 * time.Minute)
				for _, p := range s.sent {
					if p.Action == oncall.ActionTrigger {
						triggers = append(triggers, p.At)
					}
				}
				s.sent = nil
			}
			if len(triggers) < 30 || len(triggers) > 72 {
				t.Errorf("%d pages woke somebody in six hours", len(triggers))
			}
			for i := 1; i < len(triggers); i++ {
				if gap := triggers[i].Sub(triggers[i-1]); gap < 5*time.Minute {
					t.Errorf("two came within %v", gap)
				}
			}
			check(t, s.f)
		})
	}
}

// TestNewsOfAFlappingHost has a host come and go beside one that was acknowledged.
func TestNewsOfAFlappingHost(t *testing.T) {
	s := told1(t, basic())
	s.ack(s.only().ID)
	s.pass(time.Hour)
	s.pages()
	triggers := 0
	for i := range 60 {
		where := fmt.Sprintf("gva/b1/%d", i)
		s.open(where)
		s.pass(30 * time.Second)
		s.close(where)
		s.pass(30 * time.Second)
	}
	for _, p := range s.sent {
		if p.Action == oncall.ActionTrigger {
			triggers++
		}
	}
	if triggers < 5 || triggers > 13 {
		t.Errorf("%d pages in an hour, want one in five minutes at most", triggers)
	}
}

// TestFlappingHostHidesNoNews has a host come and go in a trouble that nobody has acknowledged: that is no news by itself, and
// keeps no other host from being it.
func TestFlappingHostHidesNoNews(t *testing.T) {
	s := told1(t, basic())
	for i := range 20 {
		where := fmt.Sprintf("gva/flaps/%d", i)
		s.open(where)
		s.pass(30 * time.Second)
		s.close(where)
		s.pass(30 * time.Second)
	}
	s.sent = withoutUpdates(s.sent)
	s.want("")
	s.open("gva/b1")
	s.pass(5 * time.Second)
	s.sent = withoutUpdates(s.sent)
	s.want("trigger ops")
	s.wantGroups("full gva 1/1 open", "full gva 1/2 open")
	check(t, s.f)
}

func TestNewsRefersToTheOlder(t *testing.T) {
	s := told1(t, basic())
	first := s.only().ID
	s.ack(first)
	s.pass(9 * time.Hour)
	s.open("gva/b1")
	s.pass(time.Minute)
	p := s.last()
	text := oncall.Text(p.Notification)
	if want := "this is news: " + first + " of the same kind is open since 03:00 UTC and was acknowledged by mia"; !strings.Contains(text, want) {
		t.Errorf("the text does not say %q:\n%s", want, text)
	}
	older, _ := s.f.Group(first)
	newer, _ := s.f.Group(p.Group)
	if newer.Follows != first || !newer.says("news beside group "+first) || !older.says("see group "+newer.ID) || older.AckBy != "mia" || newer.AckBy != "" {
		t.Errorf("the groups are\n%+v\n%+v", older, newer)
	}
	s.close("gva/b1")
	s.pass(time.Minute)
	if p := s.last(); p.Action != oncall.ActionResolve || p.Key != newer.ID {
		t.Errorf("the end is %+v", p)
	}
	if g := s.only(); g.ID != first {
		t.Errorf("open is %s", g.ID)
	}
}

// TestNewsOfAnAttack has one address reach more hosts after people took the attack.
func TestNewsOfAnAttack(t *testing.T) {
	s := newSim(t, basic())
	attack := top("203.0.113.7", 900, "192.0.2.1", 9)
	for _, where := range []string{"gva/a1", "zrh/a2", "ams/a3"} {
		s.open(where, attack)
	}
	s.pass(time.Minute)
	s.want("trigger ops")
	first := s.only().ID
	s.ack(first)
	s.want("acknowledge ops")
	s.pass(time.Hour)
	for _, where := range []string{"gva/b1", "zrh/b2", "ams/b3", "rom/b4"} {
		s.open(where, attack)
	}
	s.pass(time.Minute)
	s.want("trigger ops")
	s.wantGroups("full 203.0.113.7 3/3 open", "full 203.0.113.7 4/4 open")
	for _, g := range s.f.Groups() {
		if g.ID != first && g.Hosts == 4 && g.Follows != first {
			t.Errorf("it follows %q", g.Follows)
		}
	}
	check(t, s.f)
}

// TestSendersOfNews has a sender that was told nothing yet told at once.
func TestSendersOfNews(t *testing.T) {
	cfg := Config{Routes: []Route{
		{Name: "gva", Match: Match{Site: "gva"}, To: []string{"gva"}}, {Name: "zrh", Match: Match{Site: "zrh"}, To: []string{"zrh"}},
	}}
	s := newSim(t, cfg)
	s.open("gva/a1")
	s.pass(time.Minute)
	s.want("trigger gva")
	s.ack(s.only().ID)
	s.want("acknowledge gva")
	s.open("zrh/a1")
	s.open("gva/a2")
	s.pass(5 * time.Second)
	s.want("trigger zrh")
	s.pass(4 * time.Minute)
	s.want("trigger gva")
}

// TestEndIsNoNews: an event that ends an incident and is the first to say that it refused connections, since one before it was
// lost, keeps no other host from being news.
func TestEndIsNoNews(t *testing.T) {
	for _, first := range []bool{true, false} { // the end is the only event, or another came before
		s := told1(t, basic())
		s.pass(20 * time.Minute)
		if !first {
			s.open("gva/b1", warning)
			s.pass(time.Minute)
		}
		s.close("gva/b1", critical)
		s.pass(20 * time.Second)
		s.sent = nil
		s.open("gva/c1")
		s.pass(5 * time.Second)
		if len(s.sent) == 0 || s.last().Action != oncall.ActionTrigger || !slices.Contains(s.last().Hosts, "c1") {
			t.Errorf("only event %v: sent %+v", first, s.sent)
		}
	}
}
