package remediate

import (
	"math"
	"testing"
	"time"
)

func TestIncidentOfCountersAlone(t *testing.T) {
	s := play(t)
	s.read(host, 300, 40, 7).expect()
	s.at(sec(1)).read(host, 1000, 45, 9).expect("opened critical init drops=5 early=2")
	if i := s.incident(); !i.Verified || i.Count != 1000 || i.Max != 1000 || i.Buckets != 250 || !i.OpenedAt.Equal(s.now) ||
		i.BootID != "b1" || i.NetNS != host || i.ClosedAt != nil {
		t.Errorf("opened %+v", i)
	}
	if !s.tr.Critical(host.Inode) || s.tr.Critical(pod.Inode) {
		t.Error("sampling would slow down, or another namespace's speed up")
	}
	s.at(sec(2)).read(host, 400, 60, 9).expect()
	s.at(sec(31)).expect("updated critical init drops=20 early=2")
	// The drops between were booked at 12:00:02, at a table that was full a second before.
	s.at(sec(122)).expect("closed critical init drops=20 early=2").quiet()
	if closed := s.all[len(s.all)-1].Data.(Incident); !closed.ClosedAt.Equal(s.now) || closed.PeakCount != 1000 || closed.Count != 400 {
		t.Errorf("closed %+v", closed)
	}
	if s.tr.Critical(host.Inode) {
		t.Error("sampling would stay fast")
	}
}

func TestIncidentOfPressureThatBecomesCritical(t *testing.T) {
	s := play(t)
	s.look(host, 850).read(host, 850, 3, 0)
	s.at(sec(2)).look(host, 899).expect()
	s.at(sec(2.5)).look(host, 900).expect("opened warning init")
	if !s.incident().Verified || s.tr.Critical(host.Inode) {
		t.Error("a filling table is verified and not critical")
	}
	s.at(sec(3)).look(host, 990).expect()
	s.at(sec(3.1)).read(host, 1000, 4, 0).expect("updated critical init drops=1") // at once
	s.at(sec(3.2)).read(host, 1000, 9, 0).expect()
	s.at(sec(33.1)).expect("updated critical init drops=6")
	s.at(sec(123.2)).expect("closed critical init drops=6")
}

func TestIncidentClosesByHysteresis(t *testing.T) {
	s := play(t)
	at := time.Duration(0)
	for i := range 300 { // five minutes between 89 and 91%: one incident
		at += sec(1)
		s.at(at).read(host, 890+20*uint64(i%2), 0, 0)
	}
	if len(s.tr.Open()) != 1 || len(s.all) > 6 {
		t.Fatalf("%d events of a table at 89-91%%", len(s.all))
	}
	s.fresh = nil
	s.at(at+sec(1)).read(host, 849, 0, 0)
	s.at(at + sec(119.9)).expect()
	s.at(at + sec(120)).expect("closed warning init").quiet()
	s.at(at+sec(130)).read(host, 899, 0, 0).expect()
	s.at(at+sec(131)).read(host, 901, 0, 0).expect("opened warning init")
}

func TestIncidentUpdatesAreRare(t *testing.T) {
	s := play(t)
	s.read(host, 1000, 0, 0)
	for at := sec(1); at <= 10*time.Hour; at += sec(1) {
		s.at(at).read(host, 1000, uint64(at/time.Second), 0)
	}
	var updates []time.Time
	for _, ev := range s.all {
		if ev.Type == EventIncidentUpdated {
			updates = append(updates, ev.Time)
		}
	}
	// The first refusal at once, then after 30 s, 1, 2, 4, 8, 16, 32 and 60 minutes, and every hour from there.
	want := []time.Duration{sec(1), sec(31), sec(91), sec(211), sec(451), sec(931), sec(1891), sec(3811), sec(7411)}
	for i, d := range want {
		if i >= len(updates) || updates[i].Sub(noon) != d {
			t.Fatalf("updates at %v; want the first at %v", updates, want)
		}
	}
	if len(updates) != 9+7 {
		t.Errorf("%d updates in ten hours", len(updates))
	}
	s.tr.Open()[0].PerSource["forged"] = 1
	if len(s.incident().PerSource) != 0 {
		t.Error("what is handed out shares memory with the tracker")
	}
}

func TestIncidentNothingNewNothingSaid(t *testing.T) {
	s := play(t)
	s.read(host, 950, 0, 0).expect("opened warning init")
	for at := sec(1); at < 10*time.Minute; at += sec(1) {
		s.at(at).read(host, 950, 0, 0)
	}
	s.expect()
	s.limit = 1001
	s.read(host, 950, 0, 0).at(minutes(10)).expect("limit 1000-1001", "updated warning init")
}

func TestIncidentDropsAreTheCountersChange(t *testing.T) {
	s := play(t)
	s.read(host, 100, 1000, 200)
	s.at(sec(1)).read(host, 1000, 1100, 250) // +100 +50
	s.at(sec(2)).look(host, 1000)            // no counters
	s.at(sec(3)).read(host, 990, 1300, 260)  // +200 +10
	s.at(sec(4)).read(host, 500, 1301, 260)  // +1: the table was full until now
	s.at(sec(5)).read(host, 500, 1400, 260)  // +99 for another reason, in the incident all the same
	if i := s.incident(); i.Drops != 400 || i.EarlyDrops != 60 {
		t.Errorf("drops %d, early %d; the counters rose by 400 and 60", i.Drops, i.EarlyDrops)
	}
	s.at(sec(124)).expect("opened critical init drops=100 early=50", "updated critical init drops=400 early=60",
		"closed critical init drops=400 early=60")
}

func TestIncidentDropsForOtherReasons(t *testing.T) {
	s := play(t)
	for i := range uint64(600) { // a table with room, one packet refused a second for another verdict
		s.at(time.Duration(i)*time.Second).read(host, 960, 0, 0)
		if i == 0 {
			s.expect("opened warning init")
		}
	}
	s = play(t)
	for i := range uint64(600) {
		s.at(time.Duration(i)*time.Second).read(host, 899, i, 0)
	}
	s.expect().quiet()
}

func TestIncidentPeakBetweenTwoCountedReadings(t *testing.T) {
	s := play(t)
	s.read(host, 200, 5, 0)
	s.at(sec(0.2)).look(host, 600)
	s.at(sec(0.4)).look(host, 1000).expect("opened warning init")
	s.at(sec(0.6)).look(host, 700)
	s.at(sec(0.8)).look(host, 600)
	s.at(sec(1)).read(host, 500, 25, 0).expect("updated critical init drops=20")
}

func TestIncidentBurstUnderARaisedLimit(t *testing.T) {
	s := play(t)
	s.read(host, 200, 5, 0)
	s.limit = 4000
	s.at(sec(1)).read(host, 1100, 25, 0).expect("limit 1000-4000", "opened critical init drops=20")
}

func TestIncidentOfEarlyDropsAlone(t *testing.T) {
	s := play(t)
	s.read(host, 980, 5, 10).at(sec(1)).read(host, 985, 5, 30)
	s.expect("opened warning init", "updated critical init early=20").asks("full init")
}

func TestIncidentCounterGoingBackwards(t *testing.T) {
	s := play(t)
	s.read(pod, 1000, 500, 50)
	s.at(sec(1)).read(pod, 1000, 510, 50)
	s.at(sec(2)).read(pod, 1000, 3, 0) // another namespace with the same inode, or a wrap over a restart
	s.at(sec(3)).read(pod, 1000, 5, 1)
	if i := s.incident(); i.Drops != 12 || i.EarlyDrops != 1 {
		t.Errorf("drops %d, early %d; want 12 and 1", i.Drops, i.EarlyDrops)
	}
}

func TestIncidentInodeReused(t *testing.T) {
	s := play(t)
	s.read(pod, 1000, 500, 0)
	s.at(sec(1)).read(pod, 1000, 510, 0)
	s.take(s.tr.Gone(s.now, pod.Inode))
	s.expect("opened warning pod", "updated critical pod drops=10", "closed critical pod drops=10").quiet()
	next := NetNS{Inode: pod.Inode, Name: "next", Owner: "container"}
	s.at(sec(2)).read(next, 10, 90000, 0).expect().quiet()
	if peaks := s.tr.Peaks(0); len(peaks) != 1 || peaks[0] != 10 {
		t.Errorf("peaks %v: the namespace before counts", peaks)
	}
	s.at(sec(3)).read(next, 1000, 90007, 0).expect("opened critical next drops=7")
	if ids := s.all[0].Data.(Incident).ID; ids == s.incident().ID {
		t.Error("two incidents have one id")
	}
}

func TestIncidentGone(t *testing.T) {
	s := play(t)
	s.take(s.tr.Gone(s.now, 77))
	s.read(pod, 10, 0, 0)
	s.take(s.tr.Gone(s.now, pod.Inode))
	s.expect().quiet()
	if len(s.tr.tables) != 0 {
		t.Errorf("%d tables kept", len(s.tr.tables))
	}
}

func TestIncidentTwoNamespacesAtTheLimit(t *testing.T) {
	s := play(t)
	s.read(host, 10, 0, 0).read(pod, 1000, 0, 0).read(router, 975, 0, 0)
	s.expect("opened warning pod", "opened warning router")
	s.at(sec(1)).read(host, 10, 0, 0).read(pod, 1000, 3, 0).read(router, 975, 0, 0)
	s.expect("updated critical pod drops=3")
	for _, i := range s.tr.Open() {
		if len(i.LimitHitBy) != 2 || i.LimitHitBy[0] != pod || i.LimitHitBy[1] != router {
			t.Errorf("%s: limit hit by %v", i.NetNS.Name, i.LimitHitBy)
		}
	}
	s.at(sec(2)).read(router, 100, 0, 0).read(pod, 1000, 3, 0)
	if i := s.tr.Open()[0]; i.LimitHitBy != nil {
		t.Errorf("limit hit by %v; want none but itself", i.LimitHitBy)
	}
}

// TestIncidentOfLongChains: the kernel refuses on a long hash chain without a line, at a table with room.
func TestIncidentOfLongChains(t *testing.T) {
	s := play(t)
	read := func(chains, failed uint64) {
		r := s.reading(host, 300)
		r.CountersOK, r.Counters = true, Counters{ChainLength: chains, InsertFailed: failed}
		s.take(s.tr.Read(s.now, r))
	}
	read(4, 4)
	s.at(sec(1))
	read(4, 9) // lost races are no incident
	s.expect().at(sec(2))
	read(6, 11)
	s.expect("opened critical init")
	if i := s.incident(); i.ChainDrops != 2 || i.InsertFailed != 2 || !i.Verified {
		t.Errorf("incident %+v", i)
	}
	s.asks() // a higher limit would not help
	s.at(sec(122)).expect("closed critical init")
}

func TestIncidentRate(t *testing.T) {
	s := play(t)
	s.read(host, 100, 0, 0)
	s.at(sec(2)).read(host, 700, 0, 0) // 300 a second
	if rate, left := s.tr.Growth(host.Inode); rate != 300 || left != time.Second {
		t.Errorf("growth %v, full in %s; want 300 and 1s", rate, left)
	}
	s.at(sec(3)).read(host, 910, 0, 0) // 210 a second
	i := s.incident()                  // opened at 700, with 300 in two seconds to come
	if i.InsertRate != 300 || i.TimeToFull == nil || math.Abs(*i.TimeToFull-90./210) > 1e-6 {
		t.Errorf("rate %v, full in %v s", i.InsertRate, i.TimeToFull)
	}
	s.at(sec(4)).read(host, 850, 0, 0)
	if i := s.incident(); i.InsertRate != 300 || i.TimeToFull != nil {
		t.Errorf("rate %v, full in %v s; a table that empties is never full", i.InsertRate, i.TimeToFull)
	}
	if rate, left := s.tr.Growth(12345); rate != 0 || left != 0 {
		t.Error("an unknown namespace grows")
	}
	s.at(sec(8)).read(host, 851, 0, 0).at(sec(12)).read(host, 852, 0, 0)
	if _, left := s.tr.Growth(host.Inode); left != sec(592) {
		t.Errorf("full in %s; want 592s", left)
	}
	s.at(sec(1012)).read(host, 853, 0, 0).at(sec(2012)).read(host, 854, 0, 0)
	if _, left := s.tr.Growth(host.Inode); left != 0 {
		t.Errorf("full in %s; a day away is never", left)
	}
}
