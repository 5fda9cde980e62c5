package remediate

import "testing"

// TestLostRacesAreNotRefused: the kernel raises drop and insert_failed together for a clash that it cannot resolve, which is
// no refusal as long as there was room. Where the table was full, nobody knows which was which.
func TestLostRacesAreNotRefused(t *testing.T) {
	for _, c := range []struct {
		name     string
		from, to uint64 // entries of 1,000, with counters
		between  uint64 // seen by a look at the count
		grown    Counters
		refused  uint64
		asks     string
		drops    uint64 // booked to the incident
	}{
		{"a race at 98 %", 980, 981, 980, Counters{Drop: 1, InsertFailed: 1}, 0, "pressure init", 1},
		{"a race beside a refusal", 980, 981, 980, Counters{Drop: 3, InsertFailed: 1}, 2, "full init", 3},
		{"a race beside one thrown out", 980, 981, 980, Counters{Drop: 1, InsertFailed: 1, EarlyDrop: 1}, 1, "full init", 1},
		{"a refusal beside long chains", 980, 981, 980, Counters{Drop: 1, InsertFailed: 4, ChainLength: 4}, 1, "full init", 1},
		{"full at the second reading", 980, 1000, 980, Counters{Drop: 1, InsertFailed: 1}, 1, "full init", 1},
		{"full at the first reading", 1000, 981, 1000, Counters{Drop: 1, InsertFailed: 1}, 1, "full init", 1},
		{"full in between", 980, 981, 1000, Counters{Drop: 1, InsertFailed: 1}, 1, "full init", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := play(t)
			s.read(host, c.from, 0, 0).at(sec(0.1)).look(host, c.between).at(sec(0.2))
			r := s.reading(host, c.to)
			r.CountersOK, r.Counters = true, c.grown
			s.take(s.tr.Read(s.now, r))
			s.asks(c.asks)
			if a := s.tr.Asks(s.now)[0]; a.Refused != c.refused {
				t.Errorf("refused %d; want %d", a.Refused, c.refused)
			}
			i := s.incident()
			if critical := i.Severity == SeverityCritical; critical != (c.refused+c.grown.ChainLength > 0) || i.Drops != c.drops {
				t.Errorf("%s with %d drops; want %d", i.Severity, i.Drops, c.drops)
			}
		})
	}
}
