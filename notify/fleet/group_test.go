package fleet

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/notify/oncall"
)

func TestGrouping(t *testing.T) {
	racks := func(c *Config) {
		c.GroupBy = []string{"rack"}
		c.Labels = []LabelRule{
			{Labels: map[string]string{"rack": "r1"}}, {Host: "b*", Labels: map[string]string{"rack": "r2"}},
			{Site: "zrh", Host: "b*", Labels: map[string]string{"rack": "r3"}},
		}
	}
	tests := []struct {
		name string
		cfg  func(*Config)
		do   func(*sim)
		want []string
	}{
		{"two hosts of a site are one group", nil, func(s *sim) {
			s.open("gva/a1")
			s.open("gva/a2")
		}, []string{"full gva 2/2 open"}},
		{"two sites are two groups", nil, func(s *sim) {
			s.open("gva/a1")
			s.open("zrh/a1")
		}, []string{"full gva 1/1 open", "full zrh 1/1 open"}},
		{"grouped by nothing, two sites are one group", func(c *Config) { c.GroupBy = nil }, func(s *sim) {
			s.open("gva/a1")
			s.open("zrh/b1")
		}, []string{"full  2/2 open"}},
		{"grouped by a label, the last rule that sets it counts", racks, func(s *sim) {
			s.open("gva/a1")
			s.open("gva/b1")
			s.open("zrh/a1")
			s.open("zrh/b1")
		}, []string{"full r1 2/2 open", "full r2 1/1 open", "full r3 1/1 open"}},
		{"what fills is another trouble than what is full", nil, func(s *sim) {
			s.open("gva/a1", warning)
			s.open("gva/a2", critical)
			s.open("gva/a3", warning)
		}, []string{"filling gva 2/2 open", "full gva 1/1 open"}},
		{"until it is full itself", nil, func(s *sim) {
			s.open("gva/a1", warning)
			s.open("gva/a2", warning)
			s.update("gva/a1", critical)
		}, []string{"filling gva 1/1 open", "full gva 1/1 open"}},
		{"nothing is left of a group that all went on from", nil, func(s *sim) {
			s.open("gva/a1", warning)
			s.open("gva/a2", warning)
			s.update("gva/a1", critical)
			s.update("gva/a2", critical)
		}, []string{"full gva 2/2 open"}},
		{"filling alone is filling", nil, func(s *sim) {
			s.open("gva/a1", warning)
		}, []string{"filling gva 1/1 open"}},
		{"chains are another trouble", nil, func(s *sim) {
			s.open("gva/a1", drops(3))
			s.open("gva/a2", chains(3))
			s.open("gva/a3", chains(4))
		}, []string{"full gva 1/1 open", "chains gva 2/2 open"}},
		{"chains and refusals on one host count as full", nil, func(s *sim) {
			s.open("gva/a1", chains(3), drops(1))
		}, []string{"full gva 1/1 open"}},
		{"two namespaces of a host are one host", nil, func(s *sim) {
			s.open("gva/a1/one")
			s.open("gva/a1/two")
		}, []string{"full gva 1/1 open"}},
		{"a group that was told of takes no refusals after the window", nil, func(s *sim) {
			s.open("gva/a1")
			s.pass(time.Hour)
			s.open("gva/a2")
		}, []string{"full gva 1/1 open", "full gva 1/1 open"}},
		{"it takes refusals within the window of the last ones", nil, func(s *sim) {
			for i := range 20 {
				s.open(fmt.Sprintf("gva/a%d", i))
				s.pass(2*time.Minute - time.Second)
			}
		}, []string{"full gva 20/20 open"}},
		{"a group that is quiet for less than the wait takes another within the window", nil, func(s *sim) {
			s.open("gva/a1")
			s.pass(time.Minute)
			s.close("gva/a1")
			s.pass(4 * time.Second)
			s.open("gva/a2")
			s.pass(time.Minute)
		}, []string{"full gva 1/2 open"}},
		{"a quiet group takes none after the window", nil, func(s *sim) {
			s.open("gva/a1")
			s.pass(2 * time.Minute)
			s.close("gva/a1")
			s.pass(time.Second)
			s.open("gva/a2")
			s.pass(time.Minute)
		}, []string{"full gva 0/1 closed", "full gva 1/1 open"}},
		{"a group that is over takes none", nil, func(s *sim) {
			s.open("gva/a1")
			s.pass(time.Minute)
			s.close("gva/a1")
			s.pass(6 * time.Second)
			s.open("gva/a2")
		}, []string{"full gva 0/1 closed", "full gva 1/1 open"}},
		{"old records are never grouped with what is now", nil, func(s *sim) {
			s.open("gva/a1")
			s.open("gva/a2", old)
		}, []string{"full gva 1/1 open", "full gva 1/1 open"}},
		{"old records of one time are one group, which is closed", nil, func(s *sim) {
			then := opened(start.Add(-time.Hour))
			for _, host := range []string{"gva/a1", "gva/a2"} {
				s.open(host, old, then)
				s.close(host, old, then)
			}
			s.close("gva/a3", old, opened(start.Add(-2*time.Hour)))
		}, []string{"full gva 0/2 closed", "full gva 0/1 closed"}},
		{"an incident whose opening was missed", nil, func(s *sim) {
			s.update("gva/a1", warning)
		}, []string{"filling gva 1/1 open"}},
		{"an incident of which only the end is known", nil, func(s *sim) {
			s.close("gva/a1")
			s.pass(time.Minute)
		}, []string{"full gva 0/1 closed"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := basic()
			if tt.cfg != nil {
				tt.cfg(&cfg)
			}
			s := newSim(t, cfg)
			tt.do(s)
			s.wantGroups(tt.want...)
			check(t, s.f)
		})
	}
}

func TestSumsOfAGroup(t *testing.T) {
	s := newSim(t, basic())
	s.open("gva/a1", drops(5), top("192.0.2.1", 90, "192.0.2.2", 10))
	s.open("gva/a2", drops(7), unverified)
	s.open("gva/a2/other", chains(2), drops(1), top("192.0.2.1", 50))
	g := s.only()
	if g.Drops != 15 || g.Incidents != 3 || g.Hosts != 2 || g.Unverified != 1 || g.Sites["gva"] != 2 || len(g.Sites) != 1 {
		t.Errorf("the group is %+v", g)
	}
	if len(g.Top) != 1 || g.Top[0].Entries != 140 {
		t.Errorf("top is %v", g.Top)
	}
	if fmt.Sprint(g.Sample) != "[a2 a1]" {
		t.Errorf("the sample is %v, want the host that lost most first", g.Sample)
	}
	s.now = s.now.Add(time.Second)
	s.update("gva/a1", drops(50))
	s.close("gva/a2")
	g = s.only()
	if g.Drops != 60 || g.OpenHosts != 2 || g.Unverified != 0 {
		t.Errorf("with one of its two incidents closed a host is open; the group is %+v", g)
	}
	s.close("gva/a2/other")
	if g = s.only(); g.OpenHosts != 1 || g.Hosts != 2 {
		t.Errorf("the group is %+v", g)
	}
	check(t, s.f)
}

func TestSeverityOfAGroupDoesNotFall(t *testing.T) {
	s := newSim(t, basic())
	s.fillTogether()
	s.update("gva/a1", critical, oneAddress)
	s.close("gva/a1")
	if g := s.only(); g.Severity != "critical" || g.Cause != oncall.CauseFull {
		t.Errorf("it is %s, %s", g.Severity, g.Cause)
	}
}

func TestEventsThatComeAgain(t *testing.T) {
	s := newSim(t, basic())
	open := s.incidentEvent("incident.opened", "gva/a1", warning)
	s.now = s.now.Add(time.Second)
	update := s.incidentEvent("incident.updated", "gva/a1", critical, opened(start), drops(9))
	s.now = s.now.Add(time.Second)
	end := s.incidentEvent("incident.closed", "gva/a1", critical, opened(start), drops(12))
	tests := []struct {
		name   string
		events []Event
	}{
		{"each once", []Event{open, update, end}},
		{"all again", []Event{open, update, end, open, update, end}},
		{"each twice", []Event{open, open, update, update, end, end}},
		{"the opening late", []Event{update, open, end}},
		{"the end before the update", []Event{open, end, update}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := New(basic())
			for _, ev := range tt.events {
				f.Take(ev, s.now)
			}
			_, list, _ := f.Host("gva", "a1")
			if len(list) != 1 || list[0].Drops != 12 || list[0].Severity != "critical" || list[0].ClosedAt.IsZero() || list[0].Group != f.Groups()[0].ID {
				t.Errorf("the host has %+v", list)
			}
			if len(f.Groups()) != 1 || f.Groups()[0].Incidents != 1 {
				t.Errorf("the groups are %+v", f.Groups())
			}
			check(t, f)
		})
	}
}

func TestNamesDoNotMix(t *testing.T) {
	s := newSim(t, basic())
	s.open("gva/a1/same")
	s.open("gva/a2/same")
	s.wantGroups("full gva 2/2 open")
}

// check holds the sums of all groups against a count from scratch, the hosts that are named against a look at all, and the
// indices against what they index.
func check(t *testing.T, f *Fleet) {
	t.Helper()
	want := map[*group]sums{}
	for _, g := range f.groups {
		want[g] = newSums()
	}
	leads := 0
	for _, h := range f.hosts {
		if f.hosts[hostKey{h.site.name, h.name}] != h || f.shards[h.shard][h.pos] != h {
			t.Errorf("host %s stands wrongly", h.name)
		}
		seen, seenOpen := map[*group]bool{}, map[*group]bool{}
		for _, i := range h.incidents {
			if i.lead != "" {
				leads++
				if f.leads[i.lead][i.leadPos] != i || !i.live() {
					t.Errorf("%s stands wrongly under %s", i.id, i.lead)
				}
			}
			if i.group == nil {
				continue
			}
			if i.group.members[i.pos] != i || f.groups[i.group.id] != i.group {
				t.Errorf("%s stands wrongly in its group", i.id)
			}
			w, ok := want[i.group]
			if !ok {
				continue
			}
			w.count(i, 1, !seen[i.group], !i.closed && !seenOpen[i.group])
			seen[i.group] = true
			seenOpen[i.group] = seenOpen[i.group] || !i.closed
			want[i.group] = w
		}
		if g := h.silentGroup; g != nil {
			w := want[g]
			w.hosts++
			bump(w.sites, h.site, 1)
			if h.silent {
				w.countOpen(h, 1)
			}
			want[g] = w
		}
	}
	for g, w := range want {
		if got := fmt.Sprintf("%+v", g.sums); got != fmt.Sprintf("%+v", w) {
			t.Errorf("group %s has the sums\n%s, want\n%+v", g.id, got, w)
		}
		anew := group{front: g.survey()}
		if got, want := namesOf(g.sample()), namesOf(anew.sample()); !slices.Equal(got, want) {
			t.Errorf("group %s names %q, want %q", g.id, got, want)
		}
	}
	listed := 0
	for _, list := range f.leads {
		listed += len(list)
	}
	if listed != leads {
		t.Errorf("%d incidents are indexed by an address, want %d", listed, leads)
	}
}
