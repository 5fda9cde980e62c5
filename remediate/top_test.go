package remediate

import (
	"fmt"
	"testing"
	"time"
)

// wantTop expects that it is asked now who fills these tables, one after the other.
func (s *script) wantTop(want ...NetNS) *script {
	s.t.Helper()
	for _, ns := range want {
		if ask, ok := s.tr.AskTop(s.now); !ok || ask.NetNS != ns || ask.IncidentID == "" {
			s.t.Errorf("at %s: asks %+v, %v; want %s", s.now.Sub(noon), ask, ok, ns.Name)
		}
	}
	if ask, ok := s.tr.AskTop(s.now); ok {
		s.t.Errorf("at %s: asks %+v too", s.now.Sub(noon), ask)
	}
	return s
}

// top answers for the one open incident, that of the host, which goes on.
func (s *script) top(pairs ...any) *script {
	s.t.Helper()
	s.look(host, 950)
	var top []Talker
	for k := 0; k < len(pairs); k += 2 {
		top = append(top, Talker{Address: pairs[k].(string), Entries: uint64(pairs[k+1].(int))})
	}
	s.take(s.tr.SetTop(s.now, s.incident().ID, top))
	return s
}

// leads checks who leads in the last event.
func (s *script) leads(want string, entries uint64) *script {
	s.t.Helper()
	i := s.all[len(s.all)-1].Data.(Incident)
	if len(i.Top) == 0 || i.Top[0] != (Talker{want, entries}) {
		s.t.Errorf("at %s: %v; want %s with %d", s.now.Sub(noon), i.Top, want, entries)
	}
	return s
}

func TestTopIsAskedOnceAndWhenItTurnsCritical(t *testing.T) {
	s := play(t)
	s.look(host, 100).wantTop()
	s.at(sec(1)).look(host, 950).expect("opened warning init")
	s.wantTop() // the raise comes first
	s.at(sec(1.09)).wantTop()
	s.at(sec(1.1)).wantTop(host)
	s.at(sec(2)).read(host, 1000, 0, 0).wantTop()
	s.at(sec(3)).read(host, 1000, 5, 0).expect("updated critical init drops=5")
	s.wantTop(host)
	s.at(sec(32.9)).read(host, 1000, 6, 0).wantTop()
	s.at(sec(33)).wantTop(host)
	s.at(sec(62.9)).wantTop()
	s.at(sec(63)).read(host, 0, 7, 0).wantTop() // nothing in it
	s.at(sec(64)).read(host, 500, 7, 0).wantTop(host)
	s.at(minutes(4)).quiet().wantTop()
}

func TestTopWaitsForAStep(t *testing.T) {
	s := play(t)
	s.read(host, 1000, 0, 0)
	s.at(sec(1)).read(host, 1000, 5, 0).step(host, ReasonFull, 2000).wantTop()
	s.at(sec(1.05)).wantTop()
	s.at(sec(1.1)).wantTop(host) // not as late as its outcome
}

func TestTopTakesTurns(t *testing.T) {
	s := play(t)
	s.read(host, 950, 0, 0)
	s.at(sec(1)).read(pod, 960, 0, 0)
	s.at(sec(2)).read(router, 970, 0, 0).at(sec(3)).wantTop(host, pod, router)
	s.at(sec(20)).read(pod, 1000, 0, 0)
	s.at(sec(32)).read(pod, 1000, 4, 0) // turned worse: before the others, whose time has not come
	s.wantTop(pod)
	s.at(sec(33)).wantTop(host, router)
}

// A namespace with few entries in a large hash would have the kernel walk long to find them.
func TestTopLeavesSparseTables(t *testing.T) {
	s := play(t)
	s.read(host, 0, 0, 0)
	r := s.reading(pod, 1000)
	r.Buckets = 256*1000 - 2*1000 + 1
	s.take(s.tr.Read(s.now, r))
	s.at(sec(1)).wantTop()
	r.At, r.Buckets = s.now, r.Buckets-1
	s.take(s.tr.Read(s.now, r))
	s.read(router, 1, 0, 0).wantTop() // whose entry stands in the hash twice
	s.read(router, 0, 0, 0).wantTop(pod)
}

func TestTopIsToldFirstAndWhereAnotherLeads(t *testing.T) {
	s := play(t)
	s.read(host, 950, 0, 0).expect("opened warning init")
	s.at(sec(1)).top("192.0.2.1", 600, "192.0.2.2", 300).expect("updated warning init").leads("192.0.2.1", 600)
	s.at(sec(31)).top("192.0.2.1", 610, "192.0.2.2", 290).expect()
	s.at(sec(61)).top("192.0.2.2", 500, "192.0.2.1", 401).expect() // as good as even
	s.at(sec(91)).top("192.0.2.2", 500, "192.0.2.1", 400).expect("updated warning init").leads("192.0.2.2", 500)
	s.at(sec(121)).top("192.0.2.1", 499, "192.0.2.2", 498).expect()
	s.at(sec(151)).top("192.0.2.9", 20).expect("updated warning init").leads("192.0.2.9", 20)
	s.at(sec(181)).top().expect()
	s.at(sec(200)).top("192.0.2.9", 30).read(host, 960, 0, 0) // the peak is news, and brings the last answer along
	s.at(sec(201)).expect("updated warning init").leads("192.0.2.9", 30)
	s.at(sec(202)).top("192.0.2.9", 40).read(host, 500, 0, 0).at(minutes(10)).expect("closed warning init").leads("192.0.2.9", 40)
	if events := s.tr.SetTop(s.now, s.all[0].Data.(Incident).ID, []Talker{{"192.0.2.1", 1}}); len(events) > 0 {
		t.Errorf("told of one that is over: %v", events)
	}
}

// Other numbers, and two that hold about as much and take turns, are no news.
func TestTopIsNoFlood(t *testing.T) {
	s := play(t)
	s.read(host, 950, 0, 0)
	for at := sec(1); at <= time.Hour; at += sec(1) {
		s.at(at).read(host, 950, 0, 0)
		if _, ok := s.tr.AskTop(s.now); ok {
			s.top("192.0.2.1", 600+int(at/time.Second), "192.0.2.2", 598)
			s.top("192.0.2.2", 599+int(at/time.Second), "192.0.2.1", 598+int(at/time.Second))
		}
	}
	s.expect("opened warning init", "updated warning init")
}

func TestTopSurvivesARestart(t *testing.T) {
	s := play(t)
	s.read(host, 950, 0, 0)
	s.at(sec(1)).top("192.0.2.1", 600).expect("opened warning init", "updated warning init")
	s.restart("b1").at(sec(2)).read(host, 950, 0, 0).wantTop(host)
	s.top("192.0.2.1", 700).expect()
	s.top("192.0.2.2", 700).expect("updated warning init").leads("192.0.2.2", 700)
	s.restart("b2").wantTop() // what another boot had cannot be looked at
	s.read(host, 10, 0, 0).expect("closed warning init").leads("192.0.2.2", 700)
}

func TestTopIsItsOwnCopy(t *testing.T) {
	s := play(t)
	s.read(host, 950, 0, 0)
	mine := []Talker{{"192.0.2.1", 600}}
	s.tr.SetTop(s.now, s.incident().ID, mine)
	mine[0].Address = "forged"
	s.incident().Top[0].Entries = 1
	if got := fmt.Sprint(s.incident().Top); got != "[{192.0.2.1 600}]" {
		t.Error(got)
	}
}
