package remediate

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestAsksInOrder(t *testing.T) {
	s := play(t)
	s.read(host, 950, 0, 0).read(pod, 990, 0, 0).read(router, 980, 0, 0).read(NetNS{Inode: 5, Name: "low"}, 899, 0, 0)
	s.asks("pressure pod", "pressure router", "pressure init")
	s.at(sec(0.5)).read(router, 981, 7, 2)
	s.asks("full router", "pressure pod", "pressure init")
	if a := s.tr.Asks(s.now)[0]; a.Refused != 9 || a.Reading.Count != 981 || !a.Reading.CountersOK || a.IncidentID == "" {
		t.Errorf("asks %+v", a)
	}
	s.at(sec(1)).asks("full router") // the other readings are a second old
	s.at(sec(1.5)).asks()
}

func TestAsksLastRefusal(t *testing.T) {
	s := play(t)
	s.read(host, 1000, 0, 0).at(sec(1)).read(host, 1000, 7, 0)
	s.at(sec(1.5)).read(host, 1000, 7, 0).asks("full init")
	if a := s.tr.Asks(s.now)[0]; a.Refused != 7 {
		t.Errorf("refused %d; want 7, half a second ago", a.Refused)
	}
	s.at(sec(1.9)).look(host, 1000).asks("full init")
	s.at(sec(2)).look(host, 1000).asks("pressure init")
	s.at(sec(2.1)).read(host, 960, 8, 0).asks("pressure init") // it refused, but has room by now
}

func TestAsksOncePerLimit(t *testing.T) {
	p, limits := allowed(), refusing()
	s := play(t)
	s.read(host, 300, 0, 0).at(sec(0.5)).read(host, 950, 0, 0)
	ask := s.tr.Asks(s.now)[0]
	limits.Now, limits.Ask, limits.Limits.Max = s.now, ask, 1000
	if d := Decide(p, limits); !d.Do || d.To != 2300 { // 950, and 1,300 a second
		t.Fatalf("Decide = %+v", d)
	}
	s.step(host, ReasonPressure, 2000).asks() // until there is a reading of the table under the new limit
	limits.Limits.Max = 2000
	if d := Decide(p, limits); d.Do || d.Reason != ReasonNoPressure {
		t.Errorf("the same ask under the new limit: %+v", d)
	}
	s.at(sec(0.6)).read(host, 1950, 0, 0).asks("pressure init")
}

func TestAsksAfterARefusalThatTheStepEnded(t *testing.T) {
	s := play(t)
	s.read(host, 300, 0, 0).at(sec(0.1)).read(host, 1000, 5, 0).asks("full init")
	s.step(host, ReasonFull, 2000).asks()
	s.at(sec(0.2)).read(host, 1010, 9, 0).asks() // these four were refused before the write
	s.at(sec(0.3)).read(host, 1990, 9, 0).asks("full init")
}

func TestAsksOfAReadingOfTheFuture(t *testing.T) {
	s := play(t)
	s.read(host, 950, 0, 0)
	if asks := s.tr.Asks(s.now.Add(-1)); len(asks) != 0 {
		t.Errorf("asks %+v", asks)
	}
}

func TestLimitChanged(t *testing.T) {
	s := play(t)
	s.read(host, 10, 0, 0).read(pod, 10, 0, 0).expect()
	if at := s.tr.ForeignAt(); !at.IsZero() {
		t.Errorf("changed by somebody else at %s", at)
	}
	stale := s.reading(pod, 10)
	s.at(sec(1)).step(host, ReasonManual, 4000).expect("step.applied manual 1000-4000 ")
	s.take(s.tr.Read(s.now, stale)) // taken before the write, handed over after it
	s.at(sec(2)).read(host, 10, 0, 0).read(pod, 10, 0, 0).expect()
	s.limit = 3000
	s.at(sec(3)).read(pod, 10, 0, 0).read(host, 10, 0, 0).expect("limit 4000-3000", "step.confirmed manual 1000-4000 ")
	if at := s.tr.ForeignAt(); !at.Equal(after(sec(3))) {
		t.Errorf("changed by somebody else at %s", at)
	}
	s.limit = 0
	s.at(sec(4)).read(host, 10, 0, 0).expect("limit 3000-0")
	s.limit = 3000
	s.at(sec(5)).read(host, 10, 0, 0).expect("limit 0-3000").quiet() // once more
	s.restart("b1")
	if at := s.tr.ForeignAt(); !at.Equal(after(sec(5))) {
		t.Errorf("after a restart: changed by somebody else at %s", at)
	}
	s.restart("b2")
	if at := s.tr.ForeignAt(); !at.IsZero() {
		t.Errorf("after a reboot: changed by somebody else at %s", at)
	}
}

func TestRefusedOnce(t *testing.T) {
	s := play(t)
	s.read(host, 950, 0, 0).read(pod, 960, 0, 0)
	s.fresh = nil
	refuse := func(incident int, reason Reason) {
		d := Decision{From: 1000, To: 2000, Reason: reason, Trigger: ReasonPressure, IncidentID: s.tr.Open()[incident].ID}
		s.take(s.tr.Refused(s.now, Policy{Mode: ModeObserve, Ceiling: 7000}, d))
	}
	refuse(0, ReasonHeld)
	step := s.fresh[0].Data.(Step)
	if step.Ceiling != 7000 || step.Trigger != ReasonPressure || step.Mode != ModeObserve || !step.At.Equal(noon) {
		t.Errorf("step %+v", step)
	}
	refuse(0, ReasonHeld)
	refuse(0, ReasonMemory)
	refuse(1, ReasonHeld)
	refuse(0, ReasonNoPressure)
	s.restart("b1")
	refuse(0, ReasonHeld)
	refuse(1, ReasonMemory)
	s.take(s.tr.Refused(s.now, Policy{}, Decision{Reason: ReasonHeld})) // by hand
	s.expect("step.refused held 1000-2000 ", "step.refused memory 1000-2000 ", "step.refused held 1000-2000 ",
		"step.refused memory 1000-2000 ")
}

// TestBarred: what is refused for good slows the readings of that table down, for as long as it is refused.
func TestBarred(t *testing.T) {
	for _, c := range []struct {
		trigger, reason Reason
		want            bool
	}{
		{ReasonPressure, ReasonHeld, true},
		{ReasonPressure, ReasonBudget, true},
		{ReasonPressure, ReasonCooldown, false},
		{ReasonPressure, ReasonUnverified, false},
		{ReasonPressure, ReasonNoPressure, false},
		{ReasonPressure, ReasonChainLimit, false}, // refusals are a reason to resize the hash
		{ReasonFull, ReasonChainLimit, true},
	} {
		s := play(t)
		s.read(host, 950, 0, 0).read(pod, 10, 0, 0)
		s.tr.Refused(s.now, allowed(), Decision{Reason: c.reason, Trigger: c.trigger, NetNS: host})
		barred := func(inode uint64) bool { return s.tr.Barred(s.now, inode) }
		if barred(host.Inode) != c.want || barred(pod.Inode) || barred(7) {
			t.Errorf("%s asked, %s refuses: barred %v, another's %v", c.trigger, c.reason, barred(host.Inode), barred(pod.Inode))
		}
		s.tr.Applied(s.now, Step{From: 1000, To: 2000, NetNS: pod}, false)
		if barred(host.Inode) {
			t.Errorf("%s asked, %s refused: barred under another limit", c.trigger, c.reason)
		}
		s.tr.Refused(s.now, allowed(), Decision{Reason: c.reason, Trigger: c.trigger, NetNS: host})
		if s.at(sec(1)); barred(host.Inode) {
			t.Errorf("%s asked, %s refused: barred a second later", c.trigger, c.reason)
		}
	}
}

func TestFailedOnce(t *testing.T) {
	s := play(t)
	s.read(host, 950, 0, 0)
	s.fresh = nil
	step := Step{IncidentID: s.incident().ID, From: 1000, To: 2000, Reason: ReasonFull, Error: "permission denied"}
	for range 3 {
		s.take(s.tr.Failed(s.now, step))
	}
	s.expect("step.failed full 1000-2000 ")
	for i := range 10_000 {
		step.Error = fmt.Sprint("it is ", i)
		s.take(s.tr.Failed(s.now, step))
	}
	if n := len(s.fresh); n != saidAtMost-1 {
		t.Errorf("%d events of a failure in 10,000 wordings", n)
	}
	s.fresh = nil
	step.IncidentID = ""
	s.take(s.tr.Failed(s.now, step))
	s.expect("step.failed full 1000-2000 ")
}

func TestEventIDsAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, cfg := range []TrackerConfig{{Host: "a", BootID: "b1"}, {Host: "a", BootID: "b2"}, {Host: "b", BootID: "b1"}} {
		tr := NewTracker(cfg, TrackerState{})
		for i := range 34_000 {
			// Many in the same nanosecond, and a restart now and then.
			ev := tr.Event(noon.Add(time.Duration(i/1000)), EventAgentStarted, AgentState{})
			if seen[ev.ID] || len(ev.ID) != 32 {
				t.Fatalf("id %q of event %d is not new", ev.ID, i)
			}
			seen[ev.ID] = true
			if i%5000 == 0 {
				tr = NewTracker(cfg, tr.State())
			}
		}
	}
}

// TestScriptTwice plays one long script twice: the events must be the same to the last id.
func TestScriptTwice(t *testing.T) {
	var ids [2][]string
	for i := range ids {
		s := play(t)
		s.lines(written(noon.Add(-time.Hour), kernlog), written(noon.Add(-time.Hour), syslog), written(noon.Add(-time.Hour), in(pod, kmsg)))
		s.tr.CaughtUp()
		for n := range uint64(400) {
			s.at(time.Duration(n)*time.Second).read(host, 900+n%101, n/7*5, n).read(pod, n*3%1001, n, 0).read(router, n*7%1001, n/3, n)
			s.lines(kmsg, in(pod, journal), kernlog, syslog, in(NetNS{Inode: 3000 + n%5}, kmsg))
			for _, a := range s.tr.Asks(s.now) {
				s.take(s.tr.Refused(s.now, Policy{}, Decision{Reason: ReasonHeld, IncidentID: a.IncidentID}))
			}
		}
		s.at(time.Hour).quiet()
		for _, ev := range s.all {
			ids[i] = append(ids[i], ev.ID+short(ev))
		}
	}
	if len(ids[0]) < 50 || !slices.Equal(ids[0], ids[1]) {
		t.Errorf("%d events, then %d others", len(ids[0]), len(ids[1]))
	}
}
