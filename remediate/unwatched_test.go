package remediate

import (
	"testing"
	"time"
)

// away stops the agent for ten minutes and starts it again in the same boot.
func (s *script) away() *script {
	s.fresh = nil
	s.restart("b1")
	s.now = s.now.Add(10 * time.Minute)
	s.restart("b1")
	return s
}

// settled has the past published.
func (s *script) settled() *script {
	s.tr.CaughtUp()
	return s.at(s.now.Sub(noon) + sec(3))
}

func TestRefusedWhileNobodyRan(t *testing.T) {
	const opened, closed = "opened critical historical init drops=5 early=30", "closed critical historical init drops=5 early=30"
	s := play(t)
	s.read(host, 300, 100, 50).read(pod, 20, 1, 2).away()
	s.read(host, 310, 105, 80).read(pod, 20, 1, 2).asks()
	s.settled().expect(opened, closed).quiet()
	last := s.all[len(s.all)-1].Data.(Incident)
	if !last.Verified || !last.OpenedAt.Equal(noon) || last.BootID != "b1" || last.NetNS.Inode != host.Inode {
		t.Errorf("incident %+v", last)
	}
	s.away().read(host, 310, 105, 80).settled().expect() // told once

	s = play(t)
	s.read(host, 300, 100, 50).away()
	s.read(host, 310, 105, 80).restart("b1").settled().expect(opened, closed) // killed before it was told
	s.read(host, 310, 105, 80).at(time.Hour).expect()

	s = play(t)
	s.read(host, 300, 100, 50).away()
	s.read(host, 310, 105, 80).lines(written(after(minutes(5)), kmsg), written(after(minutes(5)), kernlog))
	s.settled().expect("opened critical historical init matches=1 drops=5 early=30", "closed critical historical init matches=1 drops=5 early=30")
}

func TestNothingRefusedWhileNobodyRan(t *testing.T) {
	s := play(t)
	s.read(host, 300, 100, 50).away()
	s.read(host, 310, 9105, 50).settled().expect() // drop alone has other causes too
	s = play(t)
	s.read(pod, 300, 100, 50).away()
	s.read(pod, 310, 20, 60).settled().expect() // fewer: another namespace, of the same number
	s = play(t)
	s.read(host, 300, 100, 50)
	s.fresh = nil
	s.restart("b2")
	s.read(host, 310, 105, 80).settled().expect() // another boot's
	s = play(t)
	s.read(pod, 300, 100, 50).away()
	s.tr.Born(s.now, pod) // a new one that took over the number while the agent ran
	s.read(pod, 1000, 120, 80).settled().expect("opened critical pod drops=120 early=80")
	s = play(t)
	s.read(host, 300, 100, 50).at(sec(1)).read(host, 1000, 100, 60)
	s.fresh = nil
	s.restart("b1")
	s.read(host, 310, 105, 80).settled()
	if i := s.incident(); i.Drops != 5 || i.EarlyDrops != 30 { // an open incident has them
		t.Errorf("incident %+v", i)
	}
	s.expect()
}

func TestManyNamespacesAreRememberedInPart(t *testing.T) {
	s := play(t)
	s.read(host, 1, 0, 0)
	for n := range uint64(3 * mostUnwatched) {
		s.read(NetNS{Inode: 4026540000 + n, Name: "pod"}, 10+n, 0, 0)
	}
	kept := s.tr.State().Counters
	if _, ok := kept[host.Inode]; len(kept) != mostUnwatched || !ok {
		t.Errorf("%d are kept, the first namespace: %v", len(kept), ok)
	}
	if _, ok := kept[4026540000+3*mostUnwatched-1]; !ok {
		t.Error("the fullest is not kept")
	}
}
