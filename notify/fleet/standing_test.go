package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/notify/oncall"
)

// count is how many pages of an action went out since it was last asked.
func (s *sim) count(action oncall.Action) (n int) {
	for _, p := range s.sent {
		if p.Action == action {
			n++
		}
	}
	s.sent = nil
	return n
}

// TestStandingTroubleHidesNothing has the hosts of a site refuse connections for minutes, hours apart, while something there is
// open all the time. Each time is news.
func TestStandingTroubleHidesNothing(t *testing.T) {
	const times, hosts = 5, 40
	for name, stands := range map[string][]what{
		"a host that died in its incident": nil,
		"a table that stays nearly full":   {warning},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := basic()
			cfg.Routes[0].Match.Severity = "critical"
			s := newSim(t, cfg)
			s.open("gva/dead", stands...)
			for n := range times {
				for h := range hosts {
					s.open(fmt.Sprintf("gva/h%d/%d", h, n))
				}
				s.pass(5 * time.Minute)
				for h := range hosts {
					s.close(fmt.Sprintf("gva/h%d/%d", h, n))
				}
				s.pass(6 * time.Hour)
				if got := s.count(oncall.ActionTrigger); got != 1 {
					t.Errorf("time %d: woken %d times, want once", n+1, got)
				}
			}
			check(t, s.f)
		})
	}
}

// TestWhatFillsIsNotSaidToBeFull has a host refuse connections for minutes at a site where many tables fill up now and then,
// and one stands high for weeks: the page is of that host, its end is told, and what fills wakes nobody.
func TestWhatFillsIsNotSaidToBeFull(t *testing.T) {
	cfg := basic()
	cfg.Routes[0].Match.Severity = "critical"
	s := newSim(t, cfg)
	s.open("gva/high", warning)
	fill := func(n int) {
		where := fmt.Sprintf("gva/w%d", n)
		s.open(where, warning)
		s.pass(3 * time.Minute)
		s.close(where, warning)
	}
	for n := range 20 {
		fill(n)
		s.pass(5 * time.Hour)
	}
	s.want("")
	s.open("gva/bad", drops(3))
	s.pass(time.Minute)
	p := s.last()
	if p.HostsTotal != 1 || !strings.Contains(oncall.Title(p.Notification), "full on bad") || s.now.Sub(p.Since) > time.Hour {
		t.Errorf("the page is %s, of %d hosts since %s", oncall.Title(p.Notification), p.HostsTotal, p.Since)
	}
	s.want("trigger ops")
	for n := range 30 {
		fill(n)
	}
	s.want("")
	s.close("gva/bad", drops(3))
	s.pass(time.Minute)
	s.want("resolve ops")
	s.wantGroups("filling gva 1/31 open", "full gva 0/1 closed")
	check(t, s.f)
}

// TestOverflowsAgainAndAgain has the table of a host overflow for a moment every few minutes for hours, each time an incident of
// its own: that wakes somebody ever more rarely. Another host of the site, and the same host if it lasts, is told of at once.
func TestOverflowsAgainAndAgain(t *testing.T) {
	for _, tt := range []struct {
		every time.Duration
		most  int // of how many within four hours
	}{
		{3 * time.Minute, 17},
		{5 * time.Minute, 11},
		{7 * time.Minute, 11},
		{20 * time.Minute, 10},
	} {
		t.Run(fmt.Sprint("every ", tt.every), func(t *testing.T) {
			s := newSim(t, basic())
			overflow := func(where string) {
				s.open(where)
				s.pass(130 * time.Second)
				s.close(where)
				s.pass(tt.every - 130*time.Second)
			}
			for n := range int(4 * time.Hour / tt.every) {
				overflow(fmt.Sprintf("gva/a1/%d", n))
				if n == 10 {
					s.f = reload(t, s.f, s.f.cfg)
				}
			}
			if n := s.count(oncall.ActionTrigger); n < 4 || n > tt.most {
				t.Errorf("woken %d times in four hours, want 4 to %d", n, tt.most)
			}
			overflow("gva/b1")
			if n := s.count(oncall.ActionTrigger); n != 1 {
				t.Errorf("another host: woken %d times, want once", n)
			}
			overflow("gva/a1/again")
			s.sent = nil
			s.open("gva/a1/lasts")
			s.pass(10 * time.Minute)
			if n := s.count(oncall.ActionTrigger); n != 1 {
				t.Errorf("one that lasts: woken %d times within ten minutes, want once", n)
			}
			check(t, s.f)
		})
	}
}
