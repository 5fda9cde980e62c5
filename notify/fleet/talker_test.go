package fleet

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

func TestTalkerOfAnIncident(t *testing.T) {
	tests := []struct {
		name string
		how  what
		want string
	}{
		{"nobody listed", top(), ""},
		{"half", top("192.0.2.1", 50, "192.0.2.2", 30, "192.0.2.3", 20), "192.0.2.1"},
		{"just a third", top("192.0.2.1", 10, "192.0.2.2", 10, "192.0.2.3", 10), "192.0.2.1"},
		{"less than a third", top("192.0.2.1", 30, "192.0.2.2", 29, "192.0.2.3", 28, "192.0.2.4", 13), ""},
		{"no entries", top("192.0.2.1", 0), ""},
		{"few of the table's entries", all(top("192.0.2.1", 40, "192.0.2.2", 20), of(65000)), ""},
		{"just a third of the table's", all(top("192.0.2.1", 21000, "192.0.2.2", 20), of(63000)), "192.0.2.1"},
		{"less than a third of the table's", all(top("192.0.2.1", 21000, "192.0.2.2", 20), of(63001)), ""},
		{"counted before others expired", all(top("192.0.2.1", 30, "192.0.2.2", 70), of(60)), "192.0.2.2"},
		{"less than a third of those counted before", all(top("192.0.2.1", 30, "192.0.2.2", 29, "192.0.2.3", 28, "192.0.2.4", 13), of(60)), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, basic())
			s.open("gva/a1", tt.how)
			if got := s.f.hosts[hostKey{"gva", "a1"}].incidents[0].lead; got != tt.want {
				t.Errorf("it is %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTalkers(t *testing.T) {
	x, y := top("203.0.113.7", 900, "192.0.2.2", 100), top("203.0.113.8", 900, "192.0.2.2", 100)
	tests := []struct {
		name string
		do   func(*sim)
		want []string
		sent string
	}{
		{"two hosts are two failures", func(s *sim) {
			s.open("gva/a1", x)
			s.open("zrh/a1", x)
		}, []string{"full gva 1/1 open", "full zrh 1/1 open"}, "trigger ops, trigger ops"},
		{"three are one attack, over sites", func(s *sim) {
			s.open("gva/a1", x)
			s.open("zrh/a1", x)
			s.open("ber/a1", x)
		}, []string{"full 203.0.113.7 3/3 open"}, "trigger ops"},
		{"forty are too", func(s *sim) {
			for i := range 40 {
				s.open(fmt.Sprintf("s%d/a", i%7), x, func(in *remediate.Incident) { in.ID = fmt.Sprint("i", i) })
				s.open(fmt.Sprintf("s%d/a%d", i%7, i), x)
			}
		}, []string{"full 203.0.113.7 47/47 open"}, "trigger ops"},
		{"three incidents on two hosts are none", func(s *sim) {
			s.open("gva/a1/1", x)
			s.open("gva/a1/2", x)
			s.open("zrh/a1", x)
		}, []string{"full gva 1/1 open", "full zrh 1/1 open"}, "trigger ops, trigger ops"},
		{"the address may be told later", func(s *sim) {
			for _, site := range []string{"gva", "zrh", "ber"} {
				s.open(site + "/a1")
			}
			s.pass(time.Second)
			for _, site := range []string{"gva", "zrh", "ber"} {
				s.update(site+"/a1", x)
			}
		}, []string{"full 203.0.113.7 3/3 open"}, "trigger ops"},
		{"one that watches them all is no attack", func(s *sim) {
			watches := all(top("203.0.113.9", 40, "192.0.2.2", 9), of(65000))
			for _, site := range []string{"gva", "zrh", "ber", "par"} {
				s.open(site+"/a1", watches)
			}
		}, []string{"full gva 1/1 open", "full zrh 1/1 open", "full ber 1/1 open", "full par 1/1 open"},
			"trigger ops, trigger ops, trigger ops, trigger ops"},
		{"one that fills them up later is", func(s *sim) {
			for _, site := range []string{"gva", "zrh", "ber"} {
				s.open(site+"/a1", all(top("203.0.113.9", 40), of(65000)))
			}
			s.pass(time.Second)
			for _, site := range []string{"gva", "zrh", "ber"} {
				s.update(site+"/a1", all(top("203.0.113.9", 40000), of(65000)))
			}
		}, []string{"full 203.0.113.9 3/3 open"}, "trigger ops"},
		{"others at the site stay apart", func(s *sim) {
			s.open("gva/b1", top("192.0.2.50", 10))
			for _, site := range []string{"gva", "zrh", "ber"} {
				s.open(site+"/a1", x)
			}
		}, []string{"full 203.0.113.7 3/3 open", "full gva 1/1 open"}, "trigger ops, trigger ops"},
		{"others of whom nothing is known go along", func(s *sim) {
			s.open("gva/b1")
			for _, site := range []string{"gva", "zrh", "ber"} {
				s.open(site+"/a1", x)
			}
		}, []string{"full 203.0.113.7 4/4 open"}, "trigger ops"},
		{"two attacks", func(s *sim) {
			for i := range 3 {
				s.open(fmt.Sprintf("gva/a%d", i), x)
				s.open(fmt.Sprintf("gva/b%d", i), y)
			}
		}, []string{"full 203.0.113.7 3/3 open", "full 203.0.113.8 3/3 open"}, "trigger ops, trigger ops"},
		{"a group that people know of and that has them all is the attack", func(s *sim) {
			for i := range 3 {
				s.open(fmt.Sprintf("gva/a%d", i))
			}
			s.pass(time.Minute)
			for i := range 3 {
				s.update(fmt.Sprintf("gva/a%d", i), x)
			}
			s.open("zrh/a1", x)
		}, []string{"full gva+203.0.113.7 4/4 open"}, "trigger ops"},
		{"groups that people know of stay", func(s *sim) {
			s.open("gva/a1", x)
			s.open("zrh/a1", x)
			s.pass(time.Minute)
			s.open("ber/a1", x)
			s.open("par/a1", x)
		}, []string{"full gva 1/1 open", "full zrh 1/1 open", "full 203.0.113.7 2/2 open"}, "trigger ops, trigger ops, trigger ops"},
		{"old records do not count", func(s *sim) {
			s.open("gva/a1", x, old)
			s.open("zrh/a1", x)
			s.open("ber/a1", x)
		}, []string{"full gva 1/1 open", "full zrh 1/1 open", "full ber 1/1 open"}, "trigger ops, trigger ops"},
		{"closed ones do not count", func(s *sim) {
			s.open("gva/a1", x)
			s.close("gva/a1", x)
			s.open("zrh/a1", x)
			s.open("ber/a1", x)
		}, []string{"full gva 0/1 closed", "full zrh 1/1 open", "full ber 1/1 open"}, "trigger ops, trigger ops"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, basic())
			tt.do(s)
			s.pass(time.Minute)
			s.wantGroups(tt.want...)
			s.want(tt.sent)
			check(t, s.f)
		})
	}
}

func TestTalkerReferences(t *testing.T) {
	x := top("203.0.113.7", 900)
	s := newSim(t, basic())
	s.open("gva/a1", x)
	s.open("zrh/a1", x)
	s.pass(time.Minute)
	known := map[string]bool{}
	for _, g := range s.f.Groups() {
		known[g.ID] = true
	}
	s.sent = nil
	s.open("ber/a1", x)
	s.pass(time.Minute)
	p := s.last()
	if known[p.Group] || p.HostsTotal != 1 {
		t.Errorf("the page is of %s: %+v", p.Group, p.Notification)
	}
	text := oncall.Text(p.Notification)
	for id := range known {
		g, _ := s.f.Group(id)
		if len(g.Related) != 1 || g.Related[0] != p.Group || !strings.Contains(text, id) {
			t.Errorf("%s refers to %v; the page says\n%s", id, g.Related, text)
		}
	}
}

func TestMergedGroupNeverPages(t *testing.T) {
	x := top("203.0.113.7", 900)
	s := newSim(t, basic())
	for _, site := range []string{"gva", "zrh", "ber"} {
		s.open(site+"/a1", x)
	}
	s.pass(time.Minute)
	into := s.only().ID
	merged := 0
	for _, g := range s.f.Groups() {
		if g.ID != into {
			merged++
			if g.MergedInto != into || len(g.Pages) != 0 || g.ClosedAt.IsZero() {
				t.Errorf("%+v", g)
			}
		}
	}
	if merged != 3 {
		t.Errorf("%d groups were merged", merged)
	}
	if p := s.last(); p.HostsTotal != 3 || !strings.Contains(oncall.Text(p.Notification), "one attack") {
		t.Errorf("the page says\n%s", oncall.Text(p.Notification))
	}
}

func TestAttackOfThousands(t *testing.T) {
	t.Run("one attack", func(t *testing.T) { attackOfThousands(t, false) })
	t.Run("and one other host", func(t *testing.T) { attackOfThousands(t, true) })
}

func attackOfThousands(t *testing.T, other bool) {
	cfg := basic()
	cfg.GroupBy = nil
	s := newSim(t, cfg)
	want := []string{"full 203.0.113.7 5000/5000 open"}
	sent := "trigger ops"
	if other {
		s.open("gva/z", top("192.0.2.77", 10))
		want, sent = append(want, "full  1/1 open"), "trigger ops, trigger ops"
	}
	for i := range 5000 { // the addresses follow, out of order
		s.open(fmt.Sprintf("s%d/a%d", i%9, i))
	}
	for i := range 5000 {
		s.now = s.now.Add(100 * time.Microsecond)
		s.update(fmt.Sprintf("s%d/a%d", i*7%5000%9, i*7%5000), top("203.0.113.7", 900, "192.0.2.9", 8))
	}
	s.pass(time.Minute)
	s.wantGroups(want...)
	s.want(sent)
	check(t, s.f)
}

// TestTopAddresses: of many addresses that lead, those with the most entries are shown, the first in order where they are
// equal.
func TestTopAddresses(t *testing.T) {
	s := newSim(t, basic())
	for n := range 26 {
		s.open(fmt.Sprintf("gva/h%d", n), top(fmt.Sprintf("10.0.0.%c", 'a'+n), 100+n/3))
	}
	var got []string
	for _, who := range s.f.Groups()[0].Top {
		got = append(got, fmt.Sprintf("%c%d", who.Address[len(who.Address)-1], who.Entries))
	}
	if want := []string{"y108", "z108", "v107", "w107", "x107"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
