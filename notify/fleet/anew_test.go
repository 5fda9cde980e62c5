package fleet

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/notify/oncall"
)

// grow has hosts join one after the other, within the window.
func (s *sim) grow(from, to int, every time.Duration) {
	s.t.Helper()
	for i := from; i < to; i++ {
		s.open(fmt.Sprintf("gva/b%d", i))
		s.pass(every)
	}
}

func TestGrowthWakes(t *testing.T) {
	stages := func(c *Config) {
		c.Routes[0].Escalate = []Escalation{{After: 3 * time.Hour, To: []string{"boss"}}, {After: 5 * time.Hour, To: []string{"cto"}}}
	}
	tests := []struct {
		name string
		cfg  func(*Config)
		do   func(*sim)
		want string
	}{
		{"within the time between updates an update will do", nil, func(s *sim) {
			s.grow(0, 20, time.Second)
		}, "update ops"},
		{"after it those who were told are told anew", nil, func(s *sim) {
			s.grow(0, 20, time.Second)
			s.want("update ops")
			s.pass(5 * time.Minute)
		}, "trigger ops, resolve ops"},
		{"once", nil, func(s *sim) {
			s.grow(0, 20, time.Second)
			s.pass(3 * time.Hour)
		}, "update ops, trigger ops, resolve ops"},
		{"slowly", nil, func(s *sim) {
			s.grow(0, 8, time.Minute)
			s.pages()
			s.grow(8, 9, time.Minute)
		}, "trigger ops, resolve ops"},
		{"less than tenfold wakes nobody", nil, func(s *sim) {
			s.grow(0, 8, time.Minute)
			s.pass(2 * time.Hour)
			s.sent = withoutUpdates(s.sent)
		}, ""},
		{"the next stage of escalation first", stages, func(s *sim) {
			s.grow(0, 20, time.Second)
			s.want("update ops")
			s.pass(5 * time.Minute)
		}, "trigger boss, update ops, update boss"},
		{"then the one after it, then anew", stages, func(s *sim) {
			s.grow(0, 20, time.Second)
			s.grow(20, 25, time.Minute)
			s.grow(25, 300, time.Second)
			s.grow(300, 305, time.Minute)
			s.grow(305, 3500, 100*time.Millisecond)
			s.grow(3500, 3505, time.Minute)
			s.sent = withoutUpdates(s.sent)
		}, "trigger boss, trigger cto, trigger ops, resolve ops, trigger boss, resolve boss, trigger cto, resolve cto"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := basic()
			if tt.cfg != nil {
				tt.cfg(&cfg)
			}
			s := told1(t, cfg)
			tt.do(s)
			s.want(tt.want)
			check(t, s.f)
		})
	}
}

// oneAddress has an incident be part of an attack, and fillTogether has three hosts fill up by it, which is one group whatever
// becomes of each.
var oneAddress = top("192.0.2.1", 60000)

func (s *sim) fillTogether() {
	s.t.Helper()
	for _, host := range []string{"gva/a1", "gva/a2", "gva/a3"} {
		s.open(host, warning, oneAddress)
	}
}

// TestAWaveOfPages follows a group through two waves, over a restart: keys, acknowledgement, escalation, the end.
func TestAWaveOfPages(t *testing.T) {
	cfg := basic()
	cfg.Routes[0].Escalate = []Escalation{{After: time.Hour, To: []string{"boss"}}}
	s := newSim(t, cfg)
	s.fillTogether()
	s.pass(5 * time.Second)
	s.want("trigger ops")
	id := s.only().ID
	s.ack(id)
	s.want("acknowledge ops")
	s.pass(3 * time.Hour)
	s.update("gva/a1", critical, oneAddress)
	s.pass(0)
	s.want("trigger ops, resolve ops")
	s.f = reload(t, s.f, cfg)
	s.pass(time.Hour - time.Second)
	s.want("")
	s.pass(time.Second)
	if p := s.last(); p.Key != id+"-2" {
		t.Errorf("boss is told under %s", p.Key)
	}
	s.want("trigger boss")
	s.update("gva/a1", drops(9), oneAddress)
	s.pass(time.Hour)
	for _, p := range s.sent {
		if p.Key != id+"-2" || p.Action != oncall.ActionUpdate {
			t.Errorf("%s is under %s", p.ID, p.Key)
		}
	}
	s.want("update ops, update boss")
	if n := len(s.f.Told()); n != 2 {
		t.Errorf("%d pages are to be repeated", n)
	}
	for _, host := range []string{"gva/a1", "gva/a2", "gva/a3"} {
		s.close(host)
	}
	s.pass(time.Minute)
	s.want("resolve ops, resolve boss")
	g, _ := s.f.Group(id)
	if g.Anew != 1 || !g.says("it turned critical: told anew") {
		t.Errorf("the group is %+v", g)
	}
}

func TestPagesOfWavesHaveTheirOwnIDs(t *testing.T) {
	s := told1(t, basic())
	s.sent = nil
	ids := map[string]string{}
	s.grow(0, 20, time.Second)
	s.grow(20, 26, time.Minute)
	s.grow(26, 400, time.Second)
	s.grow(400, 406, time.Minute)
	for _, p := range s.sent {
		if ids[p.ID] != "" {
			t.Errorf("%s was sent twice", p.ID)
		}
		ids[p.ID] = p.Key
	}
	if g := s.only(); g.Anew < 2 || g.Hosts != 407 {
		t.Errorf("told anew %d times, with %d hosts", g.Anew, g.Hosts)
	}
}

// kill has the sender's page given up.
func (s *sim) kill(to string) {
	s.t.Helper()
	for _, p := range slices.Backward(s.f.Due()) {
		if p.To == to {
			s.f.Delivered(p.ID, Delivery{At: s.now, Attempts: 7, Dead: true, Err: "400 bad key"}, s.now)
			return
		}
	}
	s.t.Fatalf("nothing is due to %s", to)
}

func TestDeadTrigger(t *testing.T) {
	dead := func(t *testing.T, cfg Config) *sim {
		s := newSim(t, cfg)
		s.down = true
		s.open("gva/a1")
		s.pass(5 * time.Second)
		s.kill("ops")
		s.down = false
		return s
	}
	t.Run("it is tried again, as a trigger, at the rate of updates", func(t *testing.T) {
		s := dead(t, basic())
		s.pass(5*time.Minute - time.Second)
		s.want("")
		s.down = true
		s.pass(time.Second)
		if due := s.f.Due(); len(due) != 1 || due[0].Action != oncall.ActionTrigger || due[0].ID != s.only().ID+".tx1.ops" {
			t.Fatalf("due are %+v", due)
		}
		s.kill("ops")
		s.pass(10*time.Minute - time.Second)
		if due := s.f.Due(); len(due) != 0 {
			t.Fatalf("due are %+v", due)
		}
		s.f = reload(t, s.f, s.f.cfg)
		s.down = false
		s.pass(time.Second)
		if p := s.last(); p.ID != p.Group+".tx2.ops" {
			t.Errorf("it is %s", p.ID)
		}
		s.want("trigger ops")
		s.close("gva/a1")
		s.pass(time.Minute)
		s.want("resolve ops")
	})
	t.Run("at once where it gets worse", func(t *testing.T) {
		s := dead(t, basic())
		s.grow(0, 9, time.Second)
		s.want("trigger ops")
	})
	t.Run("the next stage is told at once", func(t *testing.T) {
		cfg := basic()
		cfg.Routes[0].Escalate = []Escalation{{After: time.Hour, To: []string{"boss"}}, {After: 2 * time.Hour, To: []string{"cto"}}}
		s := dead(t, cfg)
		s.down = true
		s.pass(time.Second)
		s.kill("boss")
		s.down = false
		s.pass(time.Second)
		s.want("trigger cto")
		s.pass(5 * time.Minute)
		s.want("trigger ops, trigger boss, update cto")
	})
	t.Run("others of the route are told meanwhile, and hear of what is new", func(t *testing.T) {
		cfg := basic()
		cfg.Routes[0].To = []string{"ops", "chat"}
		s := dead(t, cfg)
		s.pass(time.Second)
		s.want("trigger chat")
		s.update("gva/a1", drops(9))
		s.pass(5 * time.Minute)
		s.want("trigger ops, update chat")
	})
	t.Run("not after an acknowledgement", func(t *testing.T) {
		s := dead(t, basic())
		s.ack(s.only().ID)
		s.pass(time.Hour)
		s.want("")
	})
	t.Run("a group that none could be told of ends without a word", func(t *testing.T) {
		s := dead(t, basic())
		s.close("gva/a1")
		s.pass(time.Hour)
		s.want("")
	})
}

func TestDeadPages(t *testing.T) {
	s := newSim(t, basic())
	s.down = true
	for i := range mostDead + 5 {
		s.open(fmt.Sprintf("s%d/a1", i))
		s.pass(5 * time.Second)
		s.kill("ops")
	}
	for _, f := range []*Fleet{s.f, reload(t, s.f, s.f.cfg)} {
		all := f.DeadPages()
		if len(all) != mostDead {
			t.Fatalf("%d are listed", len(all))
		}
		first := all[0]
		if first.State.Err != "400 bad key" || first.State.Attempts != 7 || first.Page.To != "ops" || first.Page.Site != fmt.Sprintf("s%d", mostDead+4) {
			t.Errorf("the first is %+v", first)
		}
		if title := oncall.Title(first.Page.Notification); !strings.Contains(title, "full on a1 at s104") {
			t.Errorf("its title is %q", title)
		}
	}
}

func TestResolveByHand(t *testing.T) {
	tests := []struct {
		name string
		do   func(*sim) error
		err  error
		open int
		sent string
	}{
		{"a group", func(s *sim) error { return s.f.Resolve(s.only().ID, "mia", s.now) }, nil, 0, "resolve ops"},
		{"one incident of two", func(s *sim) error { return s.f.Resolve("i-a2", "mia", s.now) }, nil, 1, ""},
		{"the last incident", func(s *sim) error {
			s.close("gva/a2")
			return s.f.Resolve("i-a1", "mia", s.now)
		}, nil, 0, "resolve ops"},
		{"an incident that is over", func(s *sim) error {
			s.close("gva/a2")
			return s.f.Resolve("i-a2", "mia", s.now)
		}, ErrOver, 1, ""},
		{"a group that is over", func(s *sim) error {
			id := s.only().ID
			if err := s.f.Resolve(id, "mia", s.now); err != nil {
				return err
			}
			return s.f.Resolve(id, "mia", s.now)
		}, ErrOver, 0, "resolve ops"},
		{"nothing that is known", func(s *sim) error { return s.f.Resolve("c00", "mia", s.now) }, ErrUnknown, 1, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, basic())
			s.open("gva/a1")
			s.open("gva/a2")
			s.pass(10 * time.Second)
			s.want("trigger ops")
			if err := tt.do(s); !errors.Is(err, tt.err) {
				t.Errorf("it says %v, want %v", err, tt.err)
			}
			s.pass(10 * time.Second)
			s.want(tt.sent)
			open := 0
			for _, g := range s.f.Groups() {
				if g.ClosedAt.IsZero() {
					open++
				}
			}
			if open != tt.open {
				t.Errorf("%d groups are open, want %d", open, tt.open)
			}
			check(t, s.f)
		})
	}
}
