package remediate

import "testing"

// TestBorn has a namespace appear that is full before it is read for the first time.
func TestBorn(t *testing.T) {
	born := func(s *script) { s.tr.Born(s.now, pod) }
	for _, c := range []struct {
		name  string
		given func(*script)
		then  func(*script)
		want  []string
		asks  []string
	}{
		{"full and refusing", born, func(s *script) { s.read(pod, 1000, 7, 2) },
			[]string{"opened critical pod drops=7 early=2"}, []string{"full pod"}},
		{"full at the count alone, then refusing", born, func(s *script) { s.look(pod, 1000).read(pod, 1000, 7, 0) },
			[]string{"opened warning pod", "updated critical pod drops=7"}, []string{"full pod"}},
		{"not full", born, func(s *script) { s.read(pod, 300, 7, 2) }, nil, nil},
		{"filling", born, func(s *script) { s.read(pod, 940, 7, 0) },
			[]string{"opened warning pod drops=7"}, []string{"pressure pod"}},
		{"full, none refused", born, func(s *script) { s.read(pod, 1000, 0, 0) },
			[]string{"opened warning pod"}, []string{"pressure pod"}},
		{"there before", func(*script) {}, func(s *script) { s.read(pod, 1000, 7, 2) },
			[]string{"opened warning pod"}, []string{"pressure pod"}},
		{"read before", func(s *script) { s.read(pod, 10, 5, 0); born(s) }, func(s *script) { s.read(pod, 300, 7, 2) }, nil, nil},
		{"looked at before", func(s *script) { s.look(pod, 10); born(s) }, func(s *script) { s.read(pod, 1000, 7, 2) },
			[]string{"opened warning pod"}, []string{"pressure pod"}},
		{"gone and born again", func(s *script) { s.read(pod, 10, 5, 0); s.take(s.tr.Gone(s.now, pod.Inode)); born(s) },
			func(s *script) { s.read(pod, 1000, 7, 0) },
			[]string{"opened critical pod drops=7"}, []string{"full pod"}},
		{"unreadable for long", born, func(s *script) { s.at(sec(20)).read(pod, 1000, 7, 2) },
			[]string{"opened warning pod"}, []string{"pressure pod"}},
		{"named by the kernel first", func(s *script) { s.lines(in(pod, kmsg)).fresh = nil; born(s) },
			func(s *script) { s.read(pod, 1000, 7, 0) },
			[]string{"updated critical pod matches=1 drops=7"}, []string{"full pod"}},
		{"restart before the first reading", func(s *script) { born(s); s.restart("b1") },
			func(s *script) { s.read(pod, 1000, 7, 2) }, []string{"opened warning pod"}, []string{"pressure pod"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := play(t)
			s.read(host, 10, 0, 0).at(sec(3))
			c.given(s)
			s.at(sec(3.1))
			c.then(s)
			s.expect(c.want...).asks(c.asks...)
		})
	}
}

// TestBornOverARestart: an incident goes on from its own counters, whether the namespace is called new again or not.
func TestBornOverARestart(t *testing.T) {
	s := play(t)
	s.read(host, 10, 0, 0).at(sec(3))
	s.tr.Born(s.now, pod)
	s.at(sec(3.1)).read(pod, 1000, 7, 0).expect("opened critical pod drops=7")
	s.at(sec(4)).restart("b1")
	s.tr.Born(s.now, pod)
	s.at(sec(5)).read(pod, 1000, 9, 0)
	if i := s.incident(); i.Drops != 9 {
		t.Errorf("drops %d; want 9", i.Drops)
	}

	// An incident without counters from before the restart: the namespace is no new one.
	s = play(t)
	s.lines(in(pod, kmsg)).at(sec(4)).restart("b1")
	s.tr.Born(s.now, pod)
	s.at(sec(5)).read(pod, 1000, 900, 0)
	if i := s.incident(); i.Drops != 0 {
		t.Errorf("drops %d; want none", i.Drops)
	}
}

// TestBornAndNeverRead: a namespace that is found and cannot be read holds up no outcome, and leaves nothing behind.
func TestBornAndNeverRead(t *testing.T) {
	s := stepped(t)
	s.tr.Born(s.now, pod)
	s.at(sec(2)).read(host, 500, 12, 0).at(sec(3.1)).read(host, 500, 12, 0).settles(OutcomeEffective)
	s.take(s.tr.Gone(s.now, pod.Inode))
	if n := len(s.tr.tables); n != 1 {
		t.Errorf("%d tables kept", n)
	}
}
