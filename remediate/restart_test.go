package remediate

import (
	"testing"
	"time"
)

func TestRestartInTheMiddle(t *testing.T) {
	s := play(t)
	s.read(host, 300, 100, 50).at(sec(1)).read(host, 1000, 112, 50).lines(kmsg, kernlog)
	before := s.incident()
	s.at(sec(20)).restart("b1")
	s.at(sec(60)).restart("b1") // and another one before the first reading
	s.read(host, 1000, 130, 53).lines(written(after(sec(30)), kmsg), kernlog)
	now := s.incident()
	if now.ID != before.ID || !now.OpenedAt.Equal(before.OpenedAt) || now.Drops != 30 || now.EarlyDrops != 3 || now.Matches != 2 {
		t.Errorf("after the restart %+v", now)
	}
	s.asks("full init")
	s.at(minutes(10)).quiet()
	for _, ev := range s.all[1:] {
		if ev.Type == EventIncidentOpened {
			t.Errorf("opened again: %s", short(ev))
		}
	}
}

func TestRestartOfAnIncidentWithoutRecords(t *testing.T) {
	s := play(t)
	s.read(host, 950, 0, 0).restart("b1") // JSON leaves out empty maps
	s.at(sec(1)).read(host, 1000, 3, 0).lines(kmsg, suppressed(4, kernlog))
	s.take(s.tr.Refused(s.now, Policy{}, Decision{IncidentID: s.incident().ID, Reason: ReasonHeld}))
	if i := s.incident(); i.Matches != 1 || i.Suppressed != 4 {
		t.Errorf("incident %+v", i)
	}
}

// TestRestartOfAnIncidentWithoutCounters: what the counters hold from the time before is not the incident's.
func TestRestartOfAnIncidentWithoutCounters(t *testing.T) {
	s := play(t)
	s.look(host, 950).expect("opened warning init")
	s.restart("b1").at(sec(1)).read(host, 990, 70000, 80000).asks("pressure init")
	if i := s.incident(); i.Drops != 0 || i.EarlyDrops != 0 || i.Severity != SeverityWarning {
		t.Errorf("incident %+v", i)
	}
}

// TestRestartWhileDrained: nobody looked while the table was full and then empty again.
func TestRestartWhileDrained(t *testing.T) {
	s := play(t)
	s.read(host, 300, 0, 0).at(sec(1)).read(host, 1000, 12, 0).at(sec(2)).read(host, 500, 12, 0)
	s.restart("b1").at(sec(60)).read(host, 400, 90, 0).lines(written(after(sec(40)), kernlog)).asks()
	if i := s.incident(); i.Drops != 90 || i.Matches != 1 {
		t.Errorf("incident %+v", i)
	}
	s = play(t)
	s.read(host, 900, 0, 0).at(sec(2)).read(host, 500, 0, 0) // the same, of a table that never refused
	s.restart("b1").at(sec(60)).read(host, 400, 90, 0)
	if i := s.incident(); i.Drops != 90 || i.Severity != SeverityWarning {
		t.Errorf("incident %+v", i)
	}
}

func TestRestartAfterALongTime(t *testing.T) {
	s := play(t)
	s.read(host, 300, 0, 0).at(sec(1)).read(host, 1000, 12, 0)
	s.restart("b1")
	s.now = after(time.Hour)
	s.read(host, 100, 12, 0).at(time.Hour)
	s.expect("opened critical init drops=12", "closed critical init drops=12").quiet()
}

func TestRestartInAnotherBoot(t *testing.T) {
	s := play(t)
	s.read(host, 300, 0, 0).at(sec(1)).read(host, 1000, 12, 0).lines(kmsg).read(pod, 950, 0, 0)
	s.step(host, ReasonFull, 2000)
	s.expect("opened critical init drops=12", "opened warning pod", "step.applied full 1000-2000 ")
	s.now = after(sec(60))
	s.limit = 1000
	s.restart("b2")
	s.lines(written(after(sec(1.5)), kernlog)) // of the boot before, and counted already
	s.expect("step.confirmed full 1000-2000 ", "closed critical init matches=1 drops=12", "closed warning pod").quiet()
	if got := s.lastStep(); got.Error == "" || got.Persisted != "" {
		t.Errorf("the step that the boot cut short is booked as %+v", got)
	}
	s.read(host, 10, 0, 0).at(sec(61)).expect()
	closed := s.all[len(s.all)-2].Data.(Incident)
	if !closed.ClosedAt.Equal(after(sec(1))) || closed.BootID != "b1" {
		t.Errorf("closed %+v; want when it was last in trouble", closed)
	}
	if s.tr.Settling() {
		t.Error("a step is awaited whose limit died with the boot")
	}
	s.restart("b2").at(minutes(5)).expect() // closed once
	s.tr.CaughtUp()
	s.at(minutes(10)).expect()
}

// TestRestartWithTheClockSetBack saves times that lie a year ahead.
func TestRestartWithTheClockSetBack(t *testing.T) {
	s := play(t)
	s.read(host, 300, 0, 0).at(sec(1)).read(host, 1000, 12, 0)
	s.step(host, ReasonFull, 2000)
	s.fresh = nil
	s.now = noon.AddDate(-1, 0, 0)
	s.restart("b1")
	year := s.now.Sub(noon)
	s.read(host, 1000, 12, 0)
	s.at(year+sec(3)).read(host, 1000, 12, 0).settles(OutcomeEffective)
	s.expect("step.confirmed full 1000-2000 effective", "updated critical init drops=12")
	s.at(year + minutes(3)).expect("closed critical init drops=12").quiet()
	closed := s.all[len(s.all)-1].Data.(Incident)
	if closed.ClosedAt.Before(closed.OpenedAt) {
		t.Errorf("closed at %s, opened at %s", closed.ClosedAt, closed.OpenedAt)
	}
	// Live records are not old ones because the clock was set back since the start.
	s.now = s.now.AddDate(-1, 0, 0)
	s.lines(kernlog).expect("unverified 1")
}

func TestRestartKeepsOldRecords(t *testing.T) {
	s := play(t)
	s.lines(written(noon.Add(-time.Hour), kernlog), written(noon.Add(-time.Hour), kernlog))
	s.at(sec(10)).restart("b1") // killed before the history was published
	s.lines(written(noon.Add(-time.Hour), syslog))
	s.tr.CaughtUp()
	s.at(sec(15)).expect("opened critical unverified historical init matches=2", "closed critical unverified historical init matches=2")
	s.restart("b1")
	s.tr.CaughtUp()
	s.at(minutes(5)).expect()
}
