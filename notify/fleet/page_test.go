package fleet

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

func TestFirstPageWaits(t *testing.T) {
	s := newSim(t, basic())
	for i := range 500 {
		s.open(fmt.Sprintf("gva/a%d", i), drops(2))
		s.pass(9 * time.Millisecond)
	}
	s.want("")
	s.pass(time.Second)
	p := s.last()
	s.want("trigger ops")
	if p.HostsTotal != 500 || p.Refused != 1000 || p.Site != "gva" || len(p.Hosts) != 10 || p.Severity != "critical" || p.Cause != oncall.CauseFull {
		t.Errorf("the page says %+v", p.Notification)
	}
	if p.ID != p.Group+".t.ops" || p.Key != p.Group || p.Notification.ID != p.ID {
		t.Errorf("the page has the ID %s, the key %s", p.ID, p.Key)
	}
}

func TestOneHostIsAPlainIncident(t *testing.T) {
	cfg := basic()
	cfg.Link = "https://hub.example/"
	s := newSim(t, cfg)
	s.open("gva/a1", drops(3), top("192.0.2.9", 40000, "192.0.2.8", 5), of(65000))
	s.step("gva/a1", remediate.EventStepApplied, "s1", remediate.ReasonFull, "")
	s.now = s.now.Add(2 * time.Second)
	s.step("gva/a1", remediate.EventStepConfirmed, "s1", remediate.ReasonFull, remediate.OutcomeEffective)
	s.pass(5 * time.Second)
	p := s.last()
	text := oncall.Text(p.Notification)
	for _, part := range []string{"conntrack table full on a1 at gva", "3 new connections refused", "from 65536 to 131072", "192.0.2.9 holds 40000",
		"65000 of 65536", "ssh a1 sudo ctwarden status", "https://hub.example/#/incident/" + p.Group} {
		if !strings.Contains(text, part) {
			t.Errorf("the text does not say %q:\n%s", part, text)
		}
	}
}

// TestPageNamesTheNamespace has the name alone where there is one, and the number of one that the agent cannot see.
func TestPageNamesTheNamespace(t *testing.T) {
	for want, ns := range map[string]remediate.NetNS{
		"in the network namespace qrouter-7\n":  {Inode: 4026532177, Name: "qrouter-7"},
		"in the network namespace 4026532178\n": {Inode: 4026532178},
	} {
		s := newSim(t, basic())
		s.open("gva/a1", func(i *remediate.Incident) { i.NetNS = ns })
		s.pass(10 * time.Second)
		if text := oncall.Text(s.last().Notification); !strings.Contains(text, want) {
			t.Errorf("the text does not say %q:\n%s", want, text)
		}
	}
}

func TestUnverifiedPagesAndSaysSo(t *testing.T) {
	for _, hosts := range []int{1, 2} {
		t.Run(fmt.Sprint(hosts), func(t *testing.T) {
			s := newSim(t, basic())
			for i := range hosts {
				s.open(fmt.Sprintf("gva/a%d", i), unverified)
			}
			s.pass(10 * time.Second)
			if p := s.last(); p.Verified || !strings.Contains(oncall.Text(p.Notification), "Not verified") {
				t.Errorf("the page says %s", oncall.Text(p.Notification))
			}
		})
	}
}

func TestHistoricalIsNeverPaged(t *testing.T) {
	s := newSim(t, basic())
	s.open("gva/a1", old)
	s.pass(time.Minute)
	s.close("gva/a1", old)
	s.pass(time.Hour)
	s.want("")
	s.wantGroups("full gva 0/1 closed")
	if g := s.f.Groups()[0]; !g.Historical {
		t.Error("it is not marked as old")
	}
}

func TestUpdates(t *testing.T) {
	tests := []struct {
		name string
		do   func(*sim)
		want string
	}{
		{"none where nothing changes", func(s *sim) {
			s.pass(3 * time.Hour)
		}, ""},
		{"at most one in the time, doubling", func(s *sim) {
			for range 40 * 6 { // 40 minutes
				s.pass(10 * time.Second)
				s.update("gva/a1", drops(uint64(s.seq)))
			}
		}, "update ops, update ops, update ops"}, // after 5, 15, 35 minutes
		{"a change later than the time at once", func(s *sim) {
			s.pass(20 * time.Minute)
			s.update("gva/a1", drops(7))
			s.pass(0)
		}, "update ops"},
		{"tenfold growth at once", func(s *sim) {
			for i := range 9 {
				s.open(fmt.Sprintf("gva/b%d", i))
			}
			s.pass(0)
		}, "update ops"},
		{"less growth waits", func(s *sim) {
			for i := range 8 {
				s.open(fmt.Sprintf("gva/b%d", i))
			}
			s.pass(2 * time.Minute)
		}, ""},
		{"a step that did not help at once, the first time", func(s *sim) {
			s.step("gva/a1", remediate.EventStepApplied, "s1", remediate.ReasonFull, "")
			s.step("gva/a1", remediate.EventStepConfirmed, "s1", remediate.ReasonFull, remediate.OutcomeIneffective)
			s.pass(0)
			s.step("gva/a1", remediate.EventStepConfirmed, "s2", remediate.ReasonFull, remediate.OutcomeIneffective)
			s.pass(time.Minute)
		}, "update ops"},
		{"a step that helped waits", func(s *sim) {
			s.step("gva/a1", remediate.EventStepConfirmed, "s1", remediate.ReasonFull, remediate.OutcomeEffective)
			s.pass(time.Minute)
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, basic())
			s.open("gva/a1")
			s.pass(5 * time.Second)
			s.want("trigger ops")
			tt.do(s)
			s.want(tt.want)
			check(t, s.f)
		})
	}
}

func TestUpdatesDoubleUpToAnHour(t *testing.T) {
	s := newSim(t, basic())
	s.open("gva/a1")
	s.pass(5 * time.Second)
	s.want("trigger ops")
	var gaps []time.Duration
	last := s.now
	for s.now.Before(start.Add(6 * time.Hour)) {
		s.pass(time.Minute)
		s.update("gva/a1", drops(uint64(s.seq)))
		for _, p := range s.sent {
			gaps = append(gaps, p.At.Sub(last))
			last = p.At
		}
		s.sent = nil
	}
	want := []time.Duration{5, 10, 20, 40, 60, 60, 60, 60}
	for i := range want {
		if i >= len(gaps) || gaps[i] < want[i]*time.Minute || gaps[i] > (want[i]+1)*time.Minute {
			t.Fatalf("the updates came after %v, want %v minutes", gaps, want)
		}
	}
}

func TestTurnsCritical(t *testing.T) {
	t.Run("after a page", func(t *testing.T) {
		s := newSim(t, basic())
		s.open("gva/a1", warning)
		s.pass(5 * time.Second)
		if p := s.last(); p.Severity != "warning" || p.Cause != oncall.CauseFilling {
			t.Errorf("the page is %s, %s", p.Severity, p.Cause)
		}
		s.want("trigger ops")
		s.update("gva/a1", critical)
		s.pass(5 * time.Second)
		if p := s.last(); p.Severity != "critical" || p.Cause != oncall.CauseFull || p.Action != oncall.ActionTrigger {
			t.Errorf("the page is %+v", p)
		}
		if p := s.sent[0]; !strings.HasPrefix(oncall.Title(p.Notification), "Not over, worse by now: Critical: conntrack table full on a1") || p.Until.IsZero() {
			t.Errorf("the older one ends with %+v", p)
		}
		s.want("resolve ops, trigger ops")
		s.close("gva/a1")
		s.pass(time.Minute)
		if p := s.last(); p.Title != "" {
			t.Errorf("the end is %+v", p)
		}
		s.want("resolve ops")
	})
	t.Run("where warnings are nobody's", func(t *testing.T) {
		cfg := basic()
		cfg.Routes[0].Match.Severity = remediate.SeverityCritical
		s := newSim(t, cfg)
		s.open("gva/a1", warning)
		s.pass(time.Minute)
		s.want("")
		s.update("gva/a1", critical)
		s.pass(5 * time.Second)
		s.want("trigger ops")
	})
}

func TestResolve(t *testing.T) {
	tests := []struct {
		name string
		do   func(*sim)
		want string
	}{
		{"after the last host and the wait", func(s *sim) {
			s.close("gva/a1")
			s.pass(time.Minute)
			s.want("")
			s.close("gva/a2")
			s.pass(4 * time.Second)
			s.want("")
			s.pass(time.Second)
		}, "resolve ops"},
		{"not while a new one comes within the wait", func(s *sim) {
			s.close("gva/a1")
			s.close("gva/a2")
			s.pass(3 * time.Second)
			s.open("gva/a3")
			s.pass(time.Minute)
		}, ""},
		{"once", func(s *sim) {
			s.close("gva/a1")
			s.close("gva/a2")
			s.pass(time.Hour)
			s.close("gva/a2")
			s.pass(time.Hour)
		}, "resolve ops"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, basic())
			s.open("gva/a1")
			s.open("gva/a2")
			s.pass(time.Minute)
			s.want("trigger ops")
			tt.do(s)
			s.want(tt.want)
		})
	}
	t.Run("says until when", func(t *testing.T) {
		s := newSim(t, basic())
		s.open("gva/a1")
		s.pass(time.Minute)
		s.close("gva/a1")
		s.pass(time.Minute)
		p := s.last()
		if want := start.Add(65 * time.Second); p.Action != oncall.ActionResolve || !p.Until.Equal(want) || p.Key != s.sent[0].Key {
			t.Errorf("the page is %+v, want its end at %v", p, want)
		}
	})
	t.Run("what is over before anybody is told is not paged", func(t *testing.T) {
		s := newSim(t, basic())
		s.open("gva/a1")
		s.close("gva/a1")
		s.pass(time.Hour)
		s.want("")
		if g := s.f.Groups()[0]; g.ClosedAt.IsZero() || !g.says("over before anybody was told") {
			t.Errorf("the group is %+v", g)
		}
	})
	t.Run("not where the route does not want it", func(t *testing.T) {
		cfg := basic()
		cfg.Routes[0].Resolve = false
		s := newSim(t, cfg)
		s.open("gva/a1")
		s.pass(time.Minute)
		s.close("gva/a1")
		s.pass(time.Minute)
		s.want("trigger ops")
	})
	t.Run("not to one that could not be told", func(t *testing.T) {
		s := newSim(t, basic())
		s.down = true
		s.open("gva/a1")
		s.pass(time.Minute)
		s.f.Delivered(s.f.Due()[0].ID, Delivery{At: s.now, Dead: true, Err: "400 bad key"}, s.now)
		s.down = false
		s.close("gva/a1")
		s.pass(time.Minute)
		s.want("")
		if g := s.f.Groups()[0]; g.Pages[0].Status != PageDead || !g.says("400 bad key") {
			t.Errorf("the pages are %+v", g.Pages)
		}
	})
}

func TestAcknowledge(t *testing.T) {
	s := newSim(t, basic())
	if err := s.f.Acknowledge("c00", "mia", s.now); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown group: %v", err)
	}
	s.fillTogether()
	s.pass(10 * time.Second)
	s.want("trigger ops")
	id := s.only().ID
	if err := s.f.Acknowledge(id, "mia", s.now); err != nil {
		t.Fatal(err)
	}
	s.pass(0)
	if p := s.last(); p.By != "mia" {
		t.Errorf("by %q", p.By)
	}
	s.want("acknowledge ops")
	if err := s.f.Acknowledge(id, "leo", s.now); err != nil || s.only().AckBy != "mia" {
		t.Errorf("a second acknowledgement: %v, by %s", err, s.only().AckBy)
	}
	s.update("gva/a1", warning, drops(3), oneAddress)
	s.pass(2 * time.Hour)
	s.want("")
	s.update("gva/a1", critical, oneAddress)
	s.pass(0)
	s.want("trigger ops, resolve ops")
	if g := s.only(); g.AckBy != "" || !g.says("the acknowledgement by mia counts no longer") {
		t.Errorf("it turned critical, and is acknowledged by %q", g.AckBy)
	}
	if err := s.f.Acknowledge(id, "leo", s.now); err != nil {
		t.Fatal(err)
	}
	s.pass(0)
	if p := s.last(); p.Key != id+"-2" || p.ID != id+".a2.ops" || p.By != "leo" {
		t.Errorf("the second acknowledgement is %+v", p)
	}
	s.want("acknowledge ops")
	for _, host := range []string{"gva/a1", "gva/a2", "gva/a3"} {
		s.close(host)
	}
	s.pass(time.Minute)
	s.want("resolve ops")
	if err := s.f.Acknowledge(id, "leo", s.now); !errors.Is(err, ErrOver) {
		t.Errorf("a closed group: %v", err)
	}
}

func TestDueUntilDelivered(t *testing.T) {
	s := newSim(t, basic())
	s.down = true
	s.open("gva/a1")
	s.pass(time.Minute)
	s.close("gva/a1")
	s.pass(time.Minute)
	for range 2 {
		due := s.f.Due()
		if len(due) != 2 || due[0].Action != oncall.ActionTrigger || due[1].Action != oncall.ActionResolve {
			t.Fatalf("due are %+v", due)
		}
	}
	id := s.f.Due()[0].ID
	s.f.Delivered(id, Delivery{At: s.now, Attempts: 3, Err: "one of two did not take it"}, s.now)
	s.f.Delivered(id, Delivery{At: s.now, Dead: true}, s.now)
	s.f.Delivered("c1.t.ops", Delivery{At: s.now}, s.now)
	s.f.Delivered("nonsense", Delivery{At: s.now}, s.now)
	g := s.f.Groups()[0]
	if len(s.f.Due()) != 1 || g.Pages[0].Status != PageDelivered || g.Pages[0].Attempts != 3 || g.Pages[0].Err == "" {
		t.Errorf("the pages are %+v", g.Pages)
	}
	s.f.Delivered(s.f.Due()[0].ID, Delivery{At: s.now, Replaced: true}, s.now)
	if g = s.f.Groups()[0]; g.Pages[1].Status != PageReplaced || len(s.f.Due()) != 0 {
		t.Errorf("the pages are %+v", g.Pages)
	}
}

func TestPagesAreBounded(t *testing.T) {
	s := newSim(t, basic())
	s.open("gva/a1")
	for range 100 * 24 {
		s.pass(time.Hour)
		s.update("gva/a1", drops(uint64(s.seq)))
	}
	g := s.only()
	if len(g.Pages) > mostPages || g.Pages[0].Action != oncall.ActionTrigger {
		t.Errorf("%d pages are kept, the first is %+v", len(g.Pages), g.Pages[0])
	}
	ids := map[string]bool{}
	for _, p := range s.sent {
		if ids[p.ID] {
			t.Errorf("%s was sent twice", p.ID)
		}
		ids[p.ID] = true
	}
}
