package remediate

import (
	"math/rand/v2"
	"testing"
	"time"
)

// dropping is a table of 1,000 that drops 20 packets a second for another cause, at random times, and has done so for
// half a minute with room.
func dropping(t *testing.T) (s *script, drops func(span time.Duration) uint64) {
	s = play(t)
	rng, total := rand.New(rand.NewPCG(7, 7)), uint64(0)
	drops = func(span time.Duration) uint64 {
		for range span / time.Millisecond {
			if rng.Float64() < 0.020 {
				total++
			}
		}
		return total
	}
	for i := range 31 {
		s.at(time.Duration(i)*time.Second).read(host, 300, drops(time.Second), 0)
	}
	s.expect()
	return s, drops
}

// TestSteadyDropsAreNoRefusals: what a table always drops asks for no step when it stands at 98 % of the limit.
func TestSteadyDropsAreNoRefusals(t *testing.T) {
	s, drops := dropping(t)
	for at := sec(31); at < minutes(10); at += 10 * time.Millisecond {
		s.at(at).read(host, 980, drops(10*time.Millisecond), 0)
		for _, a := range s.tr.Asks(s.now) {
			if a.Reason == ReasonFull {
				t.Fatalf("at %s: asks %+v", at, a)
			}
		}
	}
	if i := s.incident(); i.Severity != SeverityWarning || i.Drops < 10_000 {
		t.Errorf("incident %+v", i)
	}
}

// TestRefusalsBesideSteadyDrops: beside what it always drops, a table's refusals are seen at once.
func TestRefusalsBesideSteadyDrops(t *testing.T) {
	for _, c := range []struct {
		name  string
		count uint64
		more  uint64
	}{
		{"a single one of a full table", 1000, 1},
		{"more than it always drops in a second", 980, 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, drops := dropping(t)
			s.at(sec(31)).read(host, 980, drops(time.Second), 0)
			s.at(sec(31)+10*time.Millisecond).read(host, c.count, drops(0)+c.more, 0)
			if i := s.incident(); i.Severity != SeverityCritical {
				t.Errorf("incident %+v", i)
			}
			s.asks("full init")
		})
	}
}

// TestLineAgainstSteadyDrops: the kernel's own line tells that what was taken for the usual was refused.
func TestLineAgainstSteadyDrops(t *testing.T) {
	for _, pressure := range []float64{0.90, 0.99} { // with a warning before it, and without
		s, drops := dropping(t)
		s.cfg.Pressure = pressure
		s.tr.Configure(s.cfg)
		s.at(sec(31)).read(host, 980, drops(time.Second), 0)
		s.at(sec(31)+10*time.Millisecond).read(host, 980, drops(0)+1, 0)
		if s.tr.Critical(host.Inode) {
			t.Fatal("nothing was spared")
		}
		s.at(sec(31) + 12*time.Millisecond).lines(kernlog)
		if n := s.count(EventMatchUnverified); n > 0 {
			t.Errorf("pressure %v: a true line is called unverified", pressure)
		}
		if i := s.incident(); i.Severity != SeverityCritical || i.Matches != 1 || i.Drops == 0 || !s.tr.Critical(host.Inode) {
			t.Errorf("pressure %v: incident %+v", pressure, i)
		}
		s.asks("full init")
		s.at(sec(60)).read(host, 300, drops(0)+1, 0).at(sec(70)).lines(kernlog)
		if n := s.count(EventMatchUnverified); n != 1 {
			t.Errorf("pressure %v: a line that nothing bears out is called unverified %d times", pressure, n)
		}
	}
}
