package remediate

import (
	"testing"
	"time"
)

// TestStepOfANamespaceThatIsGone: nobody knows whether such a step helped, and it is not made to last.
func TestStepOfANamespaceThatIsGone(t *testing.T) {
	s := play(t)
	s.read(host, 10, 0, 0).read(pod, 990, 0, 0)
	s.at(time.Second).read(pod, 1000, 100, 0)
	s.limit = 2000
	s.take(s.tr.Applied(s.now, Step{ID: "x", IncidentID: s.tr.Open()[0].ID, At: s.now, From: 1000, To: 2000, Reason: ReasonFull, NetNS: pod}, false))
	s.at(1500*time.Millisecond).read(host, 10, 0, 0)
	var told []Step
	for _, ev := range s.tr.Gone(s.now, pod.Inode) {
		if ev.Type == EventStepConfirmed {
			told = append(told, ev.Data.(Step))
		}
	}
	if len(told) != 1 || told[0].Outcome != "" || told[0].Error == "" {
		t.Errorf("confirmed %+v", told)
	}
	for i := range 40 {
		s.at(1500*time.Millisecond+time.Duration(i)*500*time.Millisecond).read(host, 10, 0, 0)
		if st, ok := s.tr.Settle(s.now); ok {
			t.Fatalf("%v after the start it settles: %+v", s.now.Sub(noon), st)
		}
	}
}

// TestChainDropsAreNotSampledFast: no step follows from what a long hash chain refuses, at a table with room.
func TestChainDropsAreNotSampledFast(t *testing.T) {
	s := play(t)
	s.limit = 65536
	read := func(c Counters) {
		r := s.reading(pod, 1000)
		r.CountersOK, r.Counters = true, c
		s.take(s.tr.Read(s.now, r))
	}
	read(Counters{})
	s.at(time.Second)
	read(Counters{ChainLength: 1, InsertFailed: 1})
	if open := s.tr.Open(); len(open) != 1 || open[0].Severity != SeverityCritical || s.tr.Critical(pod.Inode) {
		t.Errorf("critical for the sampling %v; open %+v", s.tr.Critical(pod.Inode), open)
	}
}
