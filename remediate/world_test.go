package remediate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// A world is a kernel's table in simulated time: flows arrive at a rate, each lives for so long, and what comes to a full
// table is refused. An agent looks at it as often as SamplePeriod says, and later than that by what its processor makes it
// wait. There may be more namespaces under the one limit.
type world struct {
	p      Policy
	tr     *Tracker
	now    time.Time
	limits Limits
	memory Memory

	*space                      // the first namespace
	others []*space             // and those besides
	late   func() time.Duration // how much later than wanted the agent reads
	unheld uint64               // how many were refused while no bound forbade a step
	steps  []Step
}

// A space is what happens in one namespace.
type space struct {
	ns       NetNS
	arrive   func(at time.Duration) float64 // flows per second
	lives    time.Duration                  // of each flow; 0: for ever
	part     float64                        // of a flow that is still to come
	count    uint64
	refused  uint64
	expiring []arrivals // oldest first
	next     time.Time  // when it is read again
}

type arrivals struct {
	at time.Time
	n  uint64
}

// worldTick is the grain of simulated time, and what a step takes.
const worldTick = 250 * time.Microsecond

func newWorld(p Policy, limit uint64, arrive func(time.Duration) float64) *world {
	return &world{
		p: p, now: noon, space: &space{ns: host, arrive: arrive}, late: func() time.Duration { return 0 },
		tr: NewTracker(TrackerConfig{
			Host: "hv1", BootID: "b1", Start: noon, Pressure: p.Pressure, Horizon: p.Horizon, CloseAfter: 2 * time.Minute,
			UpdateEvery: 30 * time.Second, MaxInsertRate: p.MaxInsertRate,
		}, TrackerState{}),
		limits: Limits{Max: limit, OldMax: limit, Buckets: ChainsLong.PresizedBuckets(p.Ceiling), Writable: true, BucketsWritable: true},
		memory: Memory{Total: 64 << 30, Available: 32 << 30, EntryBytes: 512},
	}
}

// all are the namespaces, the first one first.
func (w *world) all() []*space { return append([]*space{w.space}, w.others...) }

// pass lets flows come and go for one tick.
func (w *world) pass() {
	w.now = w.now.Add(worldTick)
	w.passIn(w.space)
	for _, s := range w.others {
		w.passIn(s)
	}
}

func (w *world) passIn(s *space) {
	for s.lives > 0 && len(s.expiring) > 0 && w.now.Sub(s.expiring[0].at) >= s.lives {
		s.count -= s.expiring[0].n
		s.expiring = s.expiring[1:]
	}
	s.part += s.arrive(w.now.Sub(noon)) * worldTick.Seconds()
	if s.part < 0 { // entries are taken away
		gone := min(uint64(-s.part), s.count)
		s.count, s.part = s.count-gone, s.part+float64(gone)
		return
	}
	come := uint64(s.part)
	s.part -= float64(come)
	fits := min(come, w.limits.Max-min(s.count, w.limits.Max))
	if s.refused += come - fits; come > fits && w.bound() == "" {
		w.unheld += come - fits
	}
	s.count += fits
	s.expiring = append(s.expiring, arrivals{w.now, fits})
}

// bound is the reason why no step may be taken any more; "": one may.
func (w *world) bound() Reason {
	s := Situation{Limits: w.limits, Memory: w.memory, Entries: w.count}
	switch limit := w.limits.Max; {
	case len(w.steps) >= w.p.StepsPerHour:
		return ReasonBudget
	case limit >= w.p.Ceiling:
		return ReasonAtCeiling
	case MemoryBound(w.p, s, w.p.Ceiling) < limit+limit/leastGain:
		return ReasonMemory
	}
	return ""
}

// look reads the tables that are due, and does what the policy makes of each.
func (w *world) look() {
	for _, s := range w.all() {
		if !w.now.Before(s.next) {
			s.next = w.lookAt(s)
		}
	}
}

// lookAt reads one table. It returns when to look again.
func (w *world) lookAt(s *space) time.Time {
	r := Reading{
		At: w.now, NetNS: s.ns, Count: s.count, Max: w.limits.Max, Buckets: w.limits.Buckets, CountersOK: true,
		Counters: Counters{Drop: s.refused},
	}
	w.tr.Read(w.now, r)
	w.tr.Tick(w.now)
	for _, ask := range w.tr.Asks(w.now) {
		d := Decide(w.p, Situation{
			Now: w.now, Ask: ask, Limits: w.limits, Memory: w.memory, Chains: ChainsLong, Entries: w.count,
			StepTimes: w.tr.StepTimes(), ForeignAt: w.tr.ForeignAt(), OtherPeaks: w.tr.Peaks(ask.Reading.NetNS.Inode),
		})
		if !d.Do {
			continue
		}
		w.pass() // flows come while the step is taken
		w.limits.Max, w.limits.OldMax = d.To, d.To
		step := Step{ID: fmt.Sprint(len(w.steps)), IncidentID: d.IncidentID, At: w.now, From: d.From, To: d.To, Reason: d.Reason, NetNS: d.NetNS}
		w.steps = append(w.steps, step)
		w.tr.Applied(w.now, step, false)
		for _, other := range w.others {
			other.next = w.now
		}
		return w.now.Add(worldTick)
	}
	if step, ok := w.tr.Settle(w.now); ok {
		w.tr.Confirmed(w.now, step)
	}
	growth, _ := w.tr.Growth(s.ns.Inode)
	inode := s.ns.Inode
	with := Sampling{Growth: growth, Urgent: w.tr.Critical(inode), Barred: w.tr.Barred(w.now, inode)}
	return w.now.Add(SamplePeriod(w.p, r, with) + w.late())
}

// run lets the world go on for so long.
func (w *world) run(span time.Duration) {
	w.look()
	for end := w.now.Add(span); w.now.Before(end); {
		w.pass()
		w.look()
	}
}

func (w *world) String() string {
	text := fmt.Sprintf("%d of %d in use, %d refused, %d steps:", w.count, w.limits.Max, w.refused, len(w.steps))
	for _, s := range w.steps {
		text += fmt.Sprintf(" %s %s %d-%d", s.At.Sub(noon), s.Reason, s.From, s.To)
	}
	return text
}

func worldPolicy() Policy {
	p := DefaultPolicy()
	p.Mode, p.Ceiling = ModeRemediate, 1<<20
	return p
}

// TestWorldShapes plays the loads that a table is known to meet.
func TestWorldShapes(t *testing.T) {
	burst := func(every, long time.Duration, rate float64) func(time.Duration) float64 {
		return func(at time.Duration) float64 {
			if at%every < long {
				return rate
			}
			return 0
		}
	}
	for _, c := range []struct {
		name   string
		limit  uint64
		start  uint64
		lives  time.Duration
		span   time.Duration
		arrive func(time.Duration) float64
		steps  int    // at most
		most   uint64 // the limit at the end, at most
	}{
		{"300,000 flows at 100,000/s", 20000, 0, 0, 10 * time.Second, func(at time.Duration) float64 {
			if at < 3*time.Second {
				return 100_000
			}
			return 0
		}, 4, 600_000},
		{"300,000 flows at 150,000/s", 20000, 0, 0, 10 * time.Second, func(at time.Duration) float64 {
			if at < 2*time.Second {
				return 150_000
			}
			return 0
		}, 4, 600_000},
		{"a ramp", 20000, 0, 0, 3 * time.Second, func(at time.Duration) float64 { return 33_000 * at.Seconds() }, 4, 600_000},
		{"bursts of 50 ms that expire", 20000, 0, 200 * time.Millisecond, 10 * time.Second,
			burst(500*time.Millisecond, 50*time.Millisecond, 100_000), 0, 20000},
		{"a sawtooth around 90%", 20000, 17800, 0, 60 * time.Second, sawtooth(400, 200), 0, 20000},
		{"standing at 91%", 20000, 18200, 0, 60 * time.Second, func(time.Duration) float64 { return 0 }, 0, 20000},
		{"a slow leak", 20000, 17000, 0, 300 * time.Second, func(time.Duration) float64 { return 10 }, 1, 40000},
		{"a burst onto what a leak has filled", 20000, 18590, 0, 110 * time.Second, func(at time.Duration) float64 {
			if at > 100*time.Second && at < 100*time.Second+50*time.Millisecond {
				return 200_000
			}
			return 10
		}, 2, 160000},
		{"a load that settles below the limit", 20000, 0, 30 * time.Second, 2 * time.Minute, func(time.Duration) float64 { return 590 }, 0, 20000},
		{"the founding case", 65536, 30000, 0, 600 * time.Second, func(time.Duration) float64 { return 700 }, 3, 524288},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(worldPolicy(), c.limit, c.arrive)
			w.count, w.lives = c.start, c.lives
			w.run(c.span)
			t.Log(w)
			if w.refused > 0 || len(w.steps) > c.steps || w.limits.Max > c.most {
				t.Errorf("want 0 refused, %d steps at most, to %d at most", c.steps, c.most)
			}
		})
	}
}

// sawtooth rises for a second at so many flows a second and falls for two at half as many: a negative rate takes entries
// away.
func sawtooth(up, down float64) func(time.Duration) float64 {
	return func(at time.Duration) float64 {
		if at%(3*time.Second) < time.Second {
			return up
		}
		return -down
	}
}

// randomWorld has a random load of up to max_insert_rate on a limit, and a machine that lets the agent wait.
func randomWorld(rng *rand.Rand, p Policy, limit uint64) *world {
	w := newWorld(p, limit, randomLoad(rng, p.MaxInsertRate))
	if rng.IntN(2) == 0 {
		w.lives = time.Duration(rng.Int64N(int64(3 * time.Second)))
	}
	w.late = func() time.Duration { return time.Duration(rng.Int64N(int64(2 * time.Millisecond))) }
	return w
}

// TestWorldNothingRefused: whatever comes, nothing is refused below the ceiling, and the steps stay within the budget. No
// load reaches a bound: in six seconds no more than 1,200,000 come.
func TestWorldNothingRefused(t *testing.T) {
	p := worldPolicy()
	p.Ceiling = 1 << 22
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 99))
		w := randomWorld(rng, p, uint64(4096)<<rng.IntN(7))
		w.run(6 * time.Second)
		if w.refused > 0 || w.bound() != "" {
			t.Errorf("seed %d: %s (%s)", seed, w, w.bound())
		}
	}
}

// TestWorldWithinBounds plays the same loads where ceiling, budget or memory do not suffice for them: none is exceeded, and
// nothing is refused before the agent is held by one of them.
func TestWorldWithinBounds(t *testing.T) {
	held := map[Reason]int{}
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 100))
		p := worldPolicy()
		p.Ceiling, p.StepsPerHour = uint64(1)<<(17+rng.IntN(5)), 1+rng.IntN(12)
		w := randomWorld(rng, p, uint64(4096)<<rng.IntN(5))
		w.memory.Total = uint64(1<<30 + rng.Int64N(7<<30))
		w.memory.Available = w.memory.Total
		w.run(6 * time.Second)
		if w.unheld > 0 {
			t.Errorf("seed %d: %d refused while nothing held it: %s", seed, w.unheld, w)
		}
		table := w.limits.Max*w.memory.EntryBytes + 8*w.limits.Buckets
		if w.limits.Max > p.Ceiling || len(w.steps) > p.StepsPerHour || float64(table) > p.MemoryShare*float64(w.memory.Total) {
			t.Errorf("seed %d: beyond ceiling %d, budget %d or share of %d: %s", seed, p.Ceiling, p.StepsPerHour, w.memory.Total, w)
		}
		if w.refused > 0 {
			held[w.bound()]++
		}
	}
	for _, reason := range []Reason{ReasonAtCeiling, ReasonBudget, ReasonMemory} {
		if held[reason] < 20 {
			t.Errorf("%s held it in %d of 400 runs only", reason, held[reason])
		}
	}
}

// TestWorldStandsHigh: a table that has come up to 91% and stands there, with the noise of connections that come and go,
// is never full, so that no step is due however long it stands.
func TestWorldStandsHigh(t *testing.T) {
	for _, limit := range []uint64{20_000, 65_536} {
		for seed := range uint64(3) {
			rng := rand.New(rand.NewPCG(seed, limit))
			const lifetime = 60.0 // seconds, exponentially distributed
			level := 0.91 * float64(limit)
			var w *world
			w = newWorld(worldPolicy(), limit, func(time.Duration) float64 {
				in, out := level/lifetime, float64(w.count)/lifetime
				return in - out + rng.NormFloat64()*math.Sqrt((in+out)/worldTick.Seconds())
			})
			w.count = limit * 8 / 10
			w.run(5 * time.Minute)
			if len(w.steps) > 0 || w.refused > 0 {
				t.Errorf("limit %d, seed %d: %s", limit, seed, w)
			}
		}
	}
}

// randomLoad changes its mind every now and then: level, rising, in bursts.
func randomLoad(rng *rand.Rand, most float64) func(time.Duration) float64 {
	type piece struct {
		until       time.Duration
		from, slope float64
		pulse       time.Duration
	}
	var pieces []piece
	for at := time.Duration(0); at < 6*time.Second; {
		at += time.Duration(rng.Int64N(int64(time.Second)))
		q := piece{until: at, from: most * math.Pow(rng.Float64(), 3)}
		switch rng.IntN(4) {
		case 0:
			q.slope = most * rng.NormFloat64()
		case 1:
			q.pulse, q.from = 1+time.Duration(rng.Int64N(int64(100*time.Millisecond))), most
		case 2:
			q.from = 0
		}
		pieces = append(pieces, q)
	}
	began := time.Duration(0)
	return func(at time.Duration) float64 {
		for len(pieces) > 1 && at >= pieces[0].until {
			began, pieces = pieces[0].until, pieces[1:]
		}
		q := pieces[0]
		if q.pulse > 0 && at/q.pulse%2 == 1 {
			return 0
		}
		return min(max(q.from+q.slope*(at-began).Seconds(), 0), most)
	}
}

// TestWorldSmallLimits: nothing refused is a promise for limits from 4,096 on. The time between two readings has a floor, in
// which a burst at max_insert_rate fills the room of a smaller one.
func TestWorldSmallLimits(t *testing.T) {
	p := worldPolicy()
	p.Ceiling = 1 << 22
	for _, c := range []struct {
		limit uint64
		most  int // of 200 seeds
	}{{512, 200}, {4096, 0}} {
		hit := 0
		for seed := range uint64(200) {
			w := randomWorld(rand.New(rand.NewPCG(seed, c.limit)), p, c.limit)
			w.run(time.Second)
			if w.refused > 0 {
				hit++
			}
		}
		t.Logf("limit %d: refused in %d of 200 runs", c.limit, hit)
		if hit > c.most || (hit == 0) != (c.most == 0) {
			t.Errorf("limit %d: refused in %d of 200 runs, want %d at most", c.limit, hit, c.most)
		}
	}
}
