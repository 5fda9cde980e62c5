package remediate

import (
	"testing"
	"time"
)

func TestConfigure(t *testing.T) {
	s := play(t)
	s.read(host, 800, 0, 0).expect()
	s.tr.Configure(TrackerConfig{
		Host: "other", BootID: "b9", Start: noon.Add(time.Hour), Pressure: 0.75, CloseAfter: time.Minute,
		UpdateEvery: 10 * time.Second, Horizon: time.Second,
	})
	s.at(sec(1)).read(host, 800, 0, 0).expect("opened warning init")
	s.lines(kmsg).expect("unverified 1") // host, boot and start stay
	s.at(sec(2)).read(host, 750, 0, 0).at(sec(5)).read(host, 1000, 3, 0).expect("updated critical init drops=3")
	s.at(sec(6)).read(host, 699, 4, 0).at(sec(15)).expect("updated critical init drops=4")
	s.at(sec(65.9)).expect().at(sec(66)).expect("closed critical init drops=4")
}

func TestPeaks(t *testing.T) {
	s := play(t)
	s.read(host, 800, 0, 0).read(pod, 30, 0, 0).read(router, 0, 0, 0)
	s.at(sec(1)).read(host, 100, 0, 0).look(pod, 70).at(sec(2)).look(pod, 20)
	for _, c := range []struct {
		except uint64
		want   []uint64
	}{{0, []uint64{70, 800}}, {host.Inode, []uint64{70}}, {pod.Inode, []uint64{800}}, {router.Inode, []uint64{70, 800}}} {
		got := s.tr.Peaks(c.except)
		if len(got) != len(c.want) || got[0] != c.want[0] || got[len(got)-1] != c.want[len(got)-1] {
			t.Errorf("peaks but of %d: %v; want %v", c.except, got, c.want)
		}
	}
}

// TestPeaksAge: four namespaces that were full once and are empty since take no memory from a step for ever, and do as long
// as they may fill again.
func TestPeaksAge(t *testing.T) {
	s := play(t)
	s.limit = 65536
	readAll := func(count uint64) {
		for inode := range uint64(4) {
			s.read(NetNS{Inode: 100 + inode, Name: "pod"}, count, 0, 0)
		}
	}
	decide := func(want Reason, to uint64) {
		t.Helper()
		p, now := allowed(), refusing()
		now.OtherPeaks = s.tr.Peaks(host.Inode)
		p.MemoryShare = (131072*512 + 131072*8 + 100_000*512) / float64(now.Memory.Total)
		if d := Decide(p, now); d.Reason != want || d.To != to {
			t.Errorf("at %s, peaks %v: %+v; want %s, to %d", s.now.Sub(noon), now.OtherPeaks, d, want, to)
		}
	}
	readAll(60_000)
	decide(ReasonMemory, 131072)
	for m := 1.0; m < 120; m++ { // the hour in which it was is over at 60, the one after it at 120
		s.at(minutes(m))
		readAll(20)
		decide(ReasonMemory, 131072)
	}
	s.at(minutes(120))
	readAll(20)
	decide(ReasonFull, 131072)
	s.now = noon // set back
	readAll(30)
	if got := s.tr.Peaks(host.Inode); len(got) != 4 || got[0] != 30 {
		t.Errorf("peaks %v after the clock was set back", got)
	}
	s.at(minutes(60))
	readAll(10)
	s.at(minutes(120))
	readAll(10)
	if got := s.tr.Peaks(host.Inode); len(got) != 4 || got[0] != 10 {
		t.Errorf("peaks %v two hours after the clock was set back", got)
	}
}

func TestReadingShares(t *testing.T) {
	for _, c := range []struct {
		count, max, free uint64
		fill             float64
	}{{0, 0, 0, 0}, {5, 0, 0, 0}, {30, 40, 10, 0.75}, {40, 40, 0, 1}, {60, 40, 0, 1.5}} {
		r := Reading{Count: c.count, Max: c.max}
		if r.Free() != c.free || r.Fill() != c.fill {
			t.Errorf("%d of %d: free %d, fill %v; want %d, %v", c.count, c.max, r.Free(), r.Fill(), c.free, c.fill)
		}
	}
}

func TestDefaultPolicy(t *testing.T) {
	p := DefaultPolicy()
	if p.Mode != ModeObserve || p.Ceiling != 524288 || p.StepsPerHour != 12 || p.RaiseOnFlood || p.Decay != 0 || !p.Persist {
		t.Errorf("default policy %+v", p)
	}
	if d := Decide(p, refusing()); d.Do || d.Reason != ReasonObserveMode || d.To != 131072 {
		t.Errorf("by default: %+v", d)
	}
}

func BenchmarkReading(b *testing.B) {
	tr := NewTracker(TrackerConfig{Start: noon, Pressure: 0.9, CloseAfter: time.Minute, UpdateEvery: time.Second}, TrackerState{})
	r := Reading{NetNS: host, Max: 1 << 16, CountersOK: true}
	for b.Loop() {
		r.At = r.At.Add(time.Millisecond)
		r.Count = (r.Count + 100) % r.Max
		tr.Read(r.At, r)
	}
}

func BenchmarkForgedLine(b *testing.B) {
	tr := NewTracker(TrackerConfig{Start: noon, Pressure: 0.9, CloseAfter: time.Minute, UpdateEvery: time.Second}, TrackerState{})
	for i := range uint64(200) {
		tr.Read(noon, Reading{At: noon, NetNS: NetNS{Inode: 1 + i, Name: "x", Init: i == 0}, Max: 1 << 16, Count: 9, CountersOK: true})
	}
	for b.Loop() {
		tr.Match(noon, written(noon, kernlog))
	}
}
