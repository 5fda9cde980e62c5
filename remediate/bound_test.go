package remediate

import "testing"

// TestBound has a table fill up within the second since its last reading: that it held little until just now shows how
// fast, so that a step is due at once.
func TestBound(t *testing.T) {
	for _, c := range []struct {
		name  string
		at    float64 // seconds after noon
		count uint64
		want  int // asks
	}{
		{"just now", 0.975, 20, 1},
		{"long ago", 0.1, 20, 0},
		{"before the last reading", -1, 20, 0},
		{"as many then", 0.975, 700, 0},
		{"little less", 0.975, 690, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := play(t).read(host, 3, 0, 0)
			s.tr.Bound(after(sec(c.at)), c.count)
			s.at(sec(1)).read(host, 700, 0, 0)
			if asks := s.tr.Asks(s.now); len(asks) != c.want {
				t.Errorf("asks %+v, want %d", asks, c.want)
			}
		})
	}
}

// TestBoundOfOneThatIsGone: a namespace that was read for itself, and so is not among what the bound is of, may be lost
// sight of and found again with what it held all the while.
func TestBoundOfOneThatIsGone(t *testing.T) {
	s := play(t).read(pod, 700, 0, 0)
	s.tr.Bound(after(sec(0.975)), 20)
	s.tr.Gone(after(sec(0.980)), pod.Inode)
	s.at(sec(1)).read(pod, 700, 0, 0)
	if asks := s.tr.Asks(s.now); len(asks) > 0 {
		t.Errorf("asks %+v", asks)
	}
}
