package remediate

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
)

// life is a random kernel with three namespaces, an agent that reads it, and what must hold of the events.
type life struct {
	*script
	rng    *rand.Rand
	tables map[uint64]*kernelTable
	// opened and closed count the events of each incident, ids those of each event.
	opened, closed map[string]int
	ids            map[string]bool
	seen           int
	boot           int
}

type kernelTable struct {
	ns     NetNS
	count  uint64
	drops  uint64
	early  uint64
	before uint64 // drops in the boots before
	booked uint64 // drops that incidents told of when they closed
}

func newLife(t *testing.T, seed uint64) *life {
	l := &life{
		script: play(t), rng: rand.New(rand.NewPCG(seed, 77)), tables: map[uint64]*kernelTable{},
		opened: map[string]int{}, closed: map[string]int{}, ids: map[string]bool{}, boot: 1,
	}
	for _, ns := range []NetNS{host, pod, router} {
		l.tables[ns.Inode] = &kernelTable{ns: ns, count: l.rng.Uint64N(1000)}
	}
	return l
}

// pass lets connections come and go in every namespace.
func (l *life) pass() {
	for _, ns := range []NetNS{host, pod, router} {
		k := l.tables[ns.Inode]
		switch l.rng.IntN(4) {
		case 0:
			k.count -= min(k.count, l.rng.Uint64N(400))
		case 1:
			k.count += l.rng.Uint64N(500)
		}
		if k.count > l.limit {
			over := k.count - l.limit
			k.count = l.limit
			k.drops += over
			k.early += over / 3
		}
		if l.rng.IntN(50) == 0 {
			k.drops++ // for another reason
		}
	}
}

// readAll reads every table, as the agent does before it hands over records.
func (l *life) readAll(counters bool) {
	for _, ns := range []NetNS{host, pod, router} {
		k := l.tables[ns.Inode]
		if counters {
			l.read(ns, k.count, k.drops, k.early)
		} else {
			l.look(ns, k.count)
		}
	}
}

func (l *life) record() {
	from := []Match{kmsg, journal, kernlog, syslog}[l.rng.IntN(4)]
	from.NetNS = []uint64{0, 0, pod.Inode, router.Inode, 4026541234}[l.rng.IntN(5)]
	if from.BootID != "" && l.rng.IntN(8) > 0 {
		from.BootID = l.cfg.BootID
	}
	switch l.rng.IntN(8) {
	case 0:
		from = suppressed(l.rng.IntN(100), from)
	case 1:
		from.Time = l.now.Add(-sec(float64(l.rng.IntN(10_000))))
	case 2:
		from.Time = l.now.Add(sec(float64(l.rng.IntN(100))))
	}
	l.lines(from)
}

// reboot begins another boot: the tables are empty, the counters and the limit as at first.
func (l *life) reboot() {
	l.boot++
	for _, k := range l.tables {
		k.before += k.drops
		k.count, k.drops, k.early = 0, 0, 0
	}
	l.limit = 1000
	l.restart(fmt.Sprint("b", l.boot))
}

// decide does what the agent does with what asks.
func (l *life) decide() {
	p := allowed()
	for _, ask := range l.tr.Asks(l.now) {
		if age := l.now.Sub(ask.Reading.At); age < 0 || age >= MaxReadingAge || ask.Reading.Max != l.limit || ask.Reading.Blind {
			l.t.Fatalf("asks on %+v", ask.Reading)
		}
		if i := l.tr.incident(ask.IncidentID); i == nil || !i.Verified || ask.Reason == ReasonFull && ask.Refused == 0 {
			l.t.Fatalf("asks %+v without a verified incident", ask)
		}
		s := refusing()
		s.Now, s.Ask, s.Limits.Max, s.Limits.Buckets, s.StepTimes = l.now, ask, l.limit, 131072, l.tr.StepTimes()
		s.OtherPeaks, s.ForeignAt = l.tr.Peaks(ask.Reading.NetNS.Inode), l.tr.ForeignAt()
		d := Decide(p, s)
		if !d.Do {
			l.take(l.tr.Refused(l.now, p, d))
			continue
		}
		l.step(ask.Reading.NetNS, d.Reason, d.To)
		return
	}
}

func (l *life) check() {
	l.t.Helper()
	for _, ev := range l.all[l.seen:] {
		if l.ids[ev.ID] {
			l.t.Fatalf("the id of %s is not new", short(ev))
		}
		l.ids[ev.ID] = true
		if _, err := json.Marshal(ev.Data); err != nil {
			l.t.Fatal(err)
		}
		i, ok := ev.Data.(Incident)
		if !ok {
			continue
		}
		switch ev.Type {
		case EventIncidentOpened:
			l.opened[i.ID]++
		case EventIncidentClosed:
			l.closed[i.ID]++
			if k := l.tables[i.NetNS.Inode]; k != nil && !i.Historical {
				k.booked += i.Drops
			}
		}
		if l.opened[i.ID] != 1 || l.closed[i.ID] > 1 || l.closed[i.ID] == 1 && ev.Type != EventIncidentClosed {
			l.t.Fatalf("%s: opened %d times, closed %d times", short(ev), l.opened[i.ID], l.closed[i.ID])
		}
	}
	l.seen = len(l.all)
	open := map[uint64]bool{}
	for _, i := range l.tr.Open() {
		if open[i.NetNS.Inode] {
			l.t.Fatalf("two incidents of namespace %d are open", i.NetNS.Inode)
		}
		open[i.NetNS.Inode] = true
	}
	if len(l.tr.tables) > 4 || len(l.tr.notices) > mostStreams || len(l.tr.st.Closed) > keptClosed {
		l.t.Fatalf("%d tables, %d notices, %d closed", len(l.tr.tables), len(l.tr.notices), len(l.tr.st.Closed))
	}
}

// TestLives plays many random lives of a host: traffic, readings, records true and forged, restarts, reboots, others
// who write the limit.
func TestLives(t *testing.T) {
	confirmed, opened := 0, 0
	for seed := range uint64(150) {
		l := newLife(t, seed)
		for range 400 {
			l.at(l.now.Sub(noon) + sec([]float64{0.005, 0.1, 0.5, 1, 20}[l.rng.IntN(5)]))
			l.pass()
			switch l.rng.IntN(60) {
			case 0:
				l.restart(l.cfg.BootID)
			case 1:
				l.limit = 1000 + l.rng.Uint64N(500) // somebody else
			case 2:
				l.tr.CaughtUp()
			case 3:
				l.blind(router, 0)
			case 4:
				l.reboot()
			}
			l.readAll(l.rng.IntN(3) > 0)
			l.decide()
			if l.rng.IntN(3) == 0 {
				l.readAll(true)
				l.record()
			}
			if step, ok := l.tr.Settle(l.now); ok {
				l.take(l.tr.Confirmed(l.now, step))
				confirmed++
			}
			l.check()
		}
		l.tr.CaughtUp()
		l.at(l.now.Sub(noon) + minutes(10)).quiet()
		l.check()
		for id, n := range l.opened {
			opened += n
			if l.closed[id] != 1 {
				t.Fatalf("life %d: incident %s was not closed", seed, id)
			}
		}
		for _, k := range l.tables {
			if k.booked > k.before+k.drops {
				t.Fatalf("life %d: %d drops told of, %d counted", seed, k.booked, k.before+k.drops)
			}
		}
	}
	if confirmed < 100 || opened < 1000 {
		t.Errorf("%d steps confirmed, %d incidents: the lives are too quiet", confirmed, opened)
	}
}
