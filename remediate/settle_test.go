package remediate

import (
	"strings"
	"testing"
	"time"
)

// stepped is a table that refused at 12:00:01 and whose limit was doubled at once.
func stepped(t *testing.T) *script {
	s := play(t)
	s.read(host, 300, 0, 0).at(sec(1)).read(host, 1000, 12, 0).step(host, ReasonFull, 2000)
	s.expect("opened critical init drops=12", "step.applied full 1000-2000 ")
	return s
}

func TestSettleEffective(t *testing.T) {
	s := stepped(t)
	for at := sec(1.1); at < sec(3.1); at += sec(0.1) {
		s.at(at).read(host, 1100, 13, 0).settles("") // one more was refused before the write
	}
	if !s.tr.Settling() {
		t.Error("nobody reads the counters for the outcome")
	}
	s.at(sec(3.1)).read(host, 1100, 13, 0).settles(OutcomeEffective).settles("")
	s.expect("step.confirmed full 1000-2000 effective", "updated critical init drops=13")
	if i := s.incident(); i.Outcome != OutcomeEffective || i.Max != 2000 || s.tr.Settling() {
		t.Errorf("incident %+v", i)
	}
	s.at(sec(10)).read(host, 1100, 13, 0).settles("")
}

func TestSettleWaitsWhileFullAgain(t *testing.T) {
	s := stepped(t)
	s.at(sec(1.1)).read(host, 1500, 12, 0)
	for at := sec(2); at <= sec(20); at += sec(1) {
		s.at(at).read(host, 2000, uint64(at/time.Second)*10, 0).settles("")
	}
	s.at(sec(21)).read(host, 1900, 200, 0).settles("")
	s.at(sec(21.9)).read(host, 1900, 200, 0).settles("")
	s.at(sec(22)).read(host, 1900, 200, 0).settles(OutcomeEffective)
}

// TestSettleFullAgainAndEmptied: what is refused at the new limit says nothing against the step, also where the table is
// emptied before the outcome is known.
func TestSettleFullAgainAndEmptied(t *testing.T) {
	s := stepped(t)
	s.at(sec(1.1)).read(host, 1500, 12, 0).at(sec(2)).read(host, 2000, 90_000, 0).settles("")
	for at := sec(2.1); at < sec(4); at += sec(0.1) {
		s.at(at).read(host, 0, 90_000, 0).settles("")
	}
	s.at(sec(4)).read(host, 0, 90_000, 0).settles(OutcomeEffective)
}

func TestSettleIneffective(t *testing.T) {
	s := stepped(t)
	// Half full, and 100 a second go on being dropped. What the first reading shows was refused before the write.
	for at := sec(1.1); at < sec(3.1); at += sec(0.1) {
		s.at(at).read(host, 1000, 12+uint64((at-sec(1))/time.Millisecond)/10, 0).settles("")
	}
	s.at(sec(3.1)).read(host, 1000, 222, 0).settles(OutcomeIneffective)
	s.expect("step.confirmed full 1000-2000 ineffective", "updated critical init drops=222")
	back := Step{ID: "u", At: s.now, From: 2000, To: 1000, Reason: ReasonIneffective, NetNS: host}
	s.limit = 1000
	s.take(s.tr.Reverted(s.now, back))
	s.at(sec(3.2)).read(host, 800, 213, 0).expect("step.reverted ineffective 2000-1000 ") // and nobody else's change
	p, now := allowed(), refusing()
	decide := func(want Reason) {
		t.Helper()
		asks := s.tr.Asks(s.now)
		if len(asks) != 1 {
			t.Fatalf("asks %+v", asks)
		}
		now.Now, now.Ask, now.Limits.Max, now.Limits.OldMax = s.now, asks[0], 1000, 1000
		if d := Decide(p, now); d.Reason != want {
			t.Errorf("at %s: %+v; want %s", s.now.Sub(noon), d, want)
		}
	}
	s.at(sec(3.3)).read(host, 970, 230, 0)
	decide(ReasonFull) // it filled up anew
	s.tr.tables[host.Inode].trend.beginRise()
	s.at(sec(3.4)).read(host, 970, 240, 0)
	decide(ReasonIneffective)
}

// TestSettleOutcomeByWhatIsDropped: races for a place that are lost are no refusals, long chains are, and a tenth of what
// was refused before may go on, but not of what long chains refuse.
func TestSettleOutcomeByWhatIsDropped(t *testing.T) {
	for _, c := range []struct {
		name   string
		second Counters // what comes each second after the step
		count  uint64   // of 2000
		want   Outcome
	}{
		{"races for a place", Counters{Drop: 30, InsertFailed: 30}, 1000, OutcomeEffective},
		{"refusals beside races", Counters{Drop: 130, InsertFailed: 30}, 1000, OutcomeIneffective},
		{"long chains, with no drop", Counters{ChainLength: 100, InsertFailed: 100}, 1000, OutcomeIneffective},
		{"long chains, a tenth of what was refused", Counters{ChainLength: 50, InsertFailed: 50}, 1000, OutcomeIneffective},
		{"long chains in a table that is full again", Counters{ChainLength: 50, InsertFailed: 50}, 2000, OutcomeIneffective},
		{"a few on long chains", Counters{ChainLength: 10, InsertFailed: 10}, 1000, OutcomeEffective},
		{"a tenth of what it was", Counters{Drop: 50}, 1000, OutcomeEffective},
		{"more than a tenth", Counters{Drop: 60}, 1000, OutcomeIneffective},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := play(t)
			s.read(host, 300, 0, 0).at(sec(1)).read(host, 1000, 500, 0).step(host, ReasonFull, 2000)
			got, n := Counters{Drop: 500}, 0
			for at := sec(2); at <= sec(6); at += sec(1) {
				if n++; n > 1 {
					got = got.Plus(c.second)
				}
				r := s.at(at).reading(host, c.count)
				r.CountersOK, r.Counters = true, got
				s.take(s.tr.Read(s.now, r))
				if step, ok := s.tr.Settle(s.now); ok {
					if step.Outcome != c.want {
						t.Errorf("%s: %s", step.Outcome, step.Error)
					}
					return
				}
			}
			t.Error("no outcome")
		})
	}
}

// TestSettleNeverEffectiveWhileRefused: half of what was refused before goes on being refused, by a table that is full again.
func TestSettleNeverEffectiveWhileRefused(t *testing.T) {
	s := play(t)
	s.read(host, 300, 0, 0).at(sec(1)).read(host, 1000, 100, 0).step(host, ReasonFull, 2000)
	for at := sec(1.5); at <= sec(30); at += sec(0.5) {
		s.at(at).read(host, 2000, 100+50*uint64(at/time.Second), 0).settles("")
	}
}

// TestSettleSaysWhereElseToLook: an operator is told what else drops packets.
func TestSettleSaysWhereElseToLook(t *testing.T) {
	s := stepped(t)
	s.at(sec(1.1)).read(host, 1000, 12, 0).read(pod, 1990, 0, 0)
	for at := sec(2); at <= sec(3.5); at += sec(0.1) {
		r := s.at(at).reading(host, 1000)
		r.CountersOK, r.Counters = true, Counters{Drop: 12 + uint64(at/time.Millisecond), ChainLength: 7, InsertFailed: 9}
		s.take(s.tr.Read(s.now, r))
		s.read(pod, 1990, 0, 0)
		if step, ok := s.tr.Settle(s.now); ok {
			for _, want := range []string{"3007 packets", "7 of them on hash chains", "2 lost a race", "1 other namespaces", "log_invalid"} {
				if !strings.Contains(step.Error, want) {
					t.Errorf("%q does not say %q", step.Error, want)
				}
			}
			return
		}
	}
	t.Error("no outcome")
}

// TestSettleDespiteOtherDrops: the counter rises for other verdicts too, here by 20 a second, always.
func TestSettleDespiteOtherDrops(t *testing.T) {
	s := play(t)
	for i := range uint64(31) {
		s.at(time.Duration(i)*time.Second).read(host, 300, 20*i, 0)
	}
	s.expect()
	s.at(sec(31)).read(host, 1000, 720, 0).step(host, ReasonFull, 2000)
	for i := uint64(32); i < 34; i++ {
		s.at(time.Duration(i)*time.Second).read(host, 1000, 100+20*i, 0).settles("")
	}
	s.at(sec(34)).read(host, 1000, 780, 0).settles(OutcomeEffective)
}

// TestSettleAfterAnOldStorm: how much was refused long ago says nothing of what may go on after a step of today.
func TestSettleAfterAnOldStorm(t *testing.T) {
	s := play(t)
	s.read(host, 300, 0, 0).at(sec(1)).read(host, 1000, 50_000, 0)
	for at := sec(2); at < sec(3600); at += sec(1) {
		s.at(at).read(host, 300, 50_000, 0)
	}
	s.at(sec(3600)).read(host, 950, 50_000, 0).step(host, ReasonPressure, 2000)
	for i := uint64(1); i <= 20; i++ {
		s.at(sec(3600)+time.Duration(i)*sec(0.1)).read(host, 930, 50_000+300*i, 0)
	}
	s.at(sec(3603)).read(host, 930, 59_000, 0).settles(OutcomeIneffective)
}

func TestSettleOfTwoNamespaces(t *testing.T) {
	s := play(t)
	s.read(host, 300, 0, 0).read(pod, 300, 0, 0).read(router, 5, 0, 0).blind(NetNS{Inode: 7}, 0)
	s.at(sec(1)).read(host, 1000, 12, 0).read(pod, 1000, 5, 0).step(host, ReasonFull, 2000)
	s.at(sec(2.5)).read(host, 1000, 12, 0).read(pod, 2000, 9, 0).read(router, 5, 0, 0)
	s.at(sec(4)).read(host, 1000, 12, 0).read(pod, 1900, 9, 0).read(router, 5, 0, 0).settles("") // the other refused 1.5 s ago
	s.at(sec(4.5)).read(pod, 1900, 9, 0).settles(OutcomeEffective)
}

// TestSettleWithoutReadings: no reading, no outcome; but a namespace that is read no more holds it up for ten seconds
// only.
func TestSettleWithoutReadings(t *testing.T) {
	s := stepped(t)
	s.at(sec(30)).settles("")
	s.look(host, 900).settles("") // no counters in it
	s.at(sec(31)).read(host, 900, 12, 0).settles("")
	s.at(sec(32)).read(host, 900, 12, 0).settles(OutcomeEffective)

	s = play(t)
	s.read(host, 300, 0, 0).read(pod, 3, 0, 0)
	s.at(sec(1)).read(host, 1000, 12, 0).step(host, ReasonFull, 2000)
	for at := sec(2); at < sec(11); at += sec(1) {
		s.at(at).read(host, 1000, 12, 0).settles("")
	}
	s.at(sec(11)).read(host, 1000, 12, 0).settles(OutcomeEffective)

	s = stepped(t)
	s.take(s.tr.Gone(s.now, host.Inode))
	s.at(sec(30)).settles("")
}

func TestSettleOverARestart(t *testing.T) {
	s := stepped(t)
	s.at(sec(3)).restart("b1").settles("")
	s.read(host, 1000, 12, 0).settles("") // one reading shows no change
	s.at(sec(4)).read(host, 1000, 12, 0)
	step, ok := s.tr.Settle(s.now)
	if !ok || step.Outcome != OutcomeEffective {
		t.Fatalf("settles %v %+v", ok, step)
	}
	s.restart("b1") // killed before it was persisted and confirmed
	s.at(sec(5)).read(host, 1000, 12, 0).settles("")
	s.at(sec(6)).read(host, 1000, 12, 0).settles(OutcomeEffective)
	s.restart("b1").at(sec(9)).read(host, 1000, 12, 0).settles("")
}

func TestSettleOnce(t *testing.T) {
	s := stepped(t)
	s.at(sec(2)).read(host, 500, 12, 0).at(sec(3)).read(host, 500, 12, 0)
	step, ok := s.tr.Settle(s.now)
	if _, again := s.tr.Settle(s.now); !ok || again || s.tr.Settling() {
		t.Error("the step does not settle once")
	}
	if s.tr.State().Pending == nil {
		t.Error("the step is lost if the agent is killed now")
	}
	s.take(s.tr.Confirmed(s.now, step))
	if s.tr.State().Pending != nil {
		t.Error("the step would settle again after a restart")
	}
}

// TestSettleOfAnotherNamespaceWithTheSameInode: its counters are lower, and nothing can be said of the step's own.
func TestSettleOfAnotherNamespaceWithTheSameInode(t *testing.T) {
	s := play(t)
	s.read(pod, 300, 900, 0).at(sec(1)).read(pod, 1000, 912, 0).step(pod, ReasonFull, 2000)
	s.at(sec(1.5)).read(pod, 900, 912, 0)
	s.at(sec(3.5)).read(pod, 100, 2, 0).settles(OutcomeEffective)
}

func TestSettleNearlyFullSaysNothing(t *testing.T) {
	s := stepped(t)
	s.at(sec(1.1)).read(host, 1850, 12, 0)
	s.at(sec(3.2)).read(host, 1850, 900, 0).settles(OutcomeEffective) // dropped at 92%: there is hardly room
}

func TestResizedOnceAnIncident(t *testing.T) {
	s := play(t)
	s.read(host, 990, 0, 0)
	for i, resized := range []bool{false, true, false} {
		s.limit *= 2
		step := Step{ID: "s", IncidentID: s.incident().ID, At: s.now, To: s.limit, Reason: ReasonPressure}
		s.take(s.tr.Applied(s.now, step, resized))
		s.at(sec(float64(i+1))).read(host, s.limit-10, 0, 0)
		if a := s.tr.Asks(s.now)[0]; a.Resized != (i > 0) || !a.LastStep.Equal(step.At) {
			t.Errorf("step %d: asks %+v", i, a)
		}
	}
}

func TestSettleOfAStepThatAnotherFollows(t *testing.T) {
	s := stepped(t)
	s.at(sec(2)).read(host, 2000, 30, 0).step(host, ReasonFull, 4000)
	s.at(sec(3.5)).read(host, 2000, 30, 0).settles("")
	s.at(sec(4.5)).read(host, 2000, 30, 0).settles(OutcomeEffective)
	s.at(sec(9)).read(host, 2000, 30, 0).settles("")

	s = stepped(t)
	s.at(sec(2)).read(host, 500, 12, 0).at(sec(3)).read(host, 500, 12, 0)
	first, ok := s.tr.Settle(s.now)
	s.step(host, ReasonManual, 4000) // while the first is being persisted
	s.take(s.tr.Confirmed(s.now, first))
	if !ok || !s.tr.Settling() {
		t.Error("the second step is not awaited")
	}
}

func TestSettleOfAStepByHand(t *testing.T) {
	s := play(t)
	s.read(host, 300, 0, 0).step(host, ReasonManual, 5000)
	s.at(sec(1)).read(host, 300, 0, 0).settles("").at(sec(2)).read(host, 300, 0, 0).settles(OutcomeEffective)
	s.expect("step.applied manual 1000-5000 ", "step.confirmed manual 1000-5000 effective").quiet()
	if times := s.tr.StepTimes(); len(times) != 0 {
		t.Errorf("a step by hand uses up the budget: %v", times)
	}
}

func TestStepTimes(t *testing.T) {
	s := play(t)
	s.read(host, 1000, 0, 0)
	for i, at := range []time.Duration{0, minutes(30), minutes(59), minutes(89.9)} {
		s.at(at).step(host, ReasonPressure, 2000+uint64(i))
	}
	before := s.tr.StepTimes()
	s.at(minutes(90)).step(host, ReasonFull, 9000)
	want := []time.Duration{minutes(59), minutes(89.9), minutes(90)}
	got := s.tr.StepTimes()
	if len(got) != len(want) {
		t.Fatalf("step times %v", got)
	}
	for i := range want {
		if got[i].Sub(noon) != want[i] {
			t.Errorf("step time %s; want %s", got[i].Sub(noon), want[i])
		}
	}
	if len(before) != 3 || before[0].Sub(noon) != minutes(30) {
		t.Errorf("what was handed out before changed: %v", before)
	}
}
