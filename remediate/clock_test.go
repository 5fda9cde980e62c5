package remediate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"
)

// settable is a pair of clocks like a machine's: the monotonic one goes on, the wall clock can be set.
type settable struct {
	base time.Time
	mono time.Duration
	off  time.Duration // of the wall clock, whole seconds
}

func newSettable() *settable { return &settable{base: time.Now()} }

// now is what time.Now would return. A time's two parts cannot be set apart, so the test reaches into it: 33 bits of
// seconds lie above the 30 bits of nanoseconds (see package time).
func (c *settable) now() time.Time {
	at := c.base.Add(c.mono)
	parts := (*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&at))
	parts.wall += uint64(c.off/time.Second) << 30
	return at
}

func TestSettableClock(t *testing.T) {
	c := newSettable()
	a := c.now()
	c.mono, c.off = time.Minute, -time.Hour
	b := c.now()
	if b.Sub(a) != time.Minute || b.Round(0).Sub(a.Round(0)) != time.Minute-time.Hour {
		t.Fatalf("went on by %v, on the wall by %v", b.Sub(a), b.Round(0).Sub(a.Round(0)))
	}
}

// jumps are what may happen to a wall clock: set by seconds, an hour, ten years, or a night asleep.
var jumps = []time.Duration{3 * time.Second, -3 * time.Second, time.Hour, -time.Hour, 8 * time.Hour,
	10 * 365 * 24 * time.Hour, -10 * 365 * 24 * time.Hour}

// episodes plays an hour of incidents, the same for each seed, on a clock that is set at random times or never. It returns
// what was said, in short, and what asked for a step.
func episodes(seed uint64, set bool) (said, asks []string) {
	rng, fate := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
	c := newSettable()
	tr := NewTracker(TrackerConfig{
		Host: "hv1", BootID: "b1", Start: c.now(), Pressure: 0.90, CloseAfter: 2 * time.Minute,
		UpdateEvery: 30 * time.Second, Horizon: time.Minute,
	}, TrackerState{})
	type late struct {
		Match
		due time.Duration
	}
	var lines []late
	take := func(events []Event) {
		for _, ev := range events {
			said = append(said, fmt.Sprintf("%v %s", c.mono, short(ev)))
		}
	}
	drop, full := uint64(0), false
	for ; c.mono < time.Hour; c.mono += time.Second / 2 {
		if set && fate.IntN(400) == 0 {
			c.off += jumps[fate.IntN(len(jumps))]
			c.off = max(min(c.off, 30*365*24*time.Hour), -30*365*24*time.Hour)
		}
		if rng.IntN(300) == 0 {
			full = !full
		}
		count := uint64(300)
		if full {
			drop, count = drop+3, 1000
			for _, from := range []Match{journal, kernlog} {
				from.Time = c.now().Round(0) // what is read from a file has no monotonic part
				lines = append(lines, late{from, c.mono + time.Duration(rng.IntN(2))*time.Second/2})
			}
		}
		take(tr.Read(c.now(), Reading{At: c.now(), NetNS: host, Count: count, Max: 1000, CountersOK: true, Counters: Counters{Drop: drop}}))
		for len(lines) > 0 && lines[0].due <= c.mono {
			take(tr.Match(c.now(), lines[0].Match))
			lines = lines[1:]
		}
		take(tr.Tick(c.now()))
		for _, ask := range tr.Asks(c.now()) {
			asks = append(asks, fmt.Sprintf("%v %s", c.mono, ask.Reason))
		}
	}
	return said, asks
}

// Whatever the wall clock is set to, in whatever direction: the same incidents open and close at the same moments, with
// the same counts, and the same asks for a step.
func TestClockIsSet(t *testing.T) {
	incidents := 0
	for seed := range uint64(15) {
		said, asks := episodes(seed, false)
		saidSet, asksSet := episodes(seed, true)
		if !slices.Equal(said, saidSet) {
			for i := range min(len(said), len(saidSet)) {
				if said[i] != saidSet[i] {
					t.Fatalf("seed %d: with the clock set\n%s\nwithout\n%s", seed, saidSet[i], said[i])
				}
			}
			t.Fatalf("seed %d: %d events with the clock set, %d without", seed, len(saidSet), len(said))
		}
		if !slices.Equal(asks, asksSet) {
			t.Fatalf("seed %d: other steps are asked for", seed)
		}
		incidents += len(said)
	}
	if incidents == 0 {
		t.Error("nothing happened")
	}
}

// However the wall clock was set while an incident was open, what is published of it lasted as long as it did, or longer.
func TestClosedAfterItWasOpened(t *testing.T) {
	for _, jump := range append([]time.Duration{0}, jumps...) {
		c := newSettable()
		tr := NewTracker(TrackerConfig{BootID: "b1", Start: c.now(), Pressure: 0.90, CloseAfter: 2 * time.Minute}, TrackerState{})
		read := func(count uint64) {
			tr.Read(c.now(), Reading{At: c.now(), NetNS: host, Count: count, Max: 1000})
		}
		read(950)
		c.mono, c.off = time.Second, jump
		read(300)
		c.mono += 2 * time.Minute
		events := tr.Tick(c.now())
		if len(events) != 1 || events[0].Type != EventIncidentClosed {
			t.Fatalf("clock set by %v: %+v", jump, events)
		}
		in := events[0].Data.(Incident)
		lasted := in.ClosedAt.Round(0).Sub(in.OpenedAt.Round(0))
		if want := c.mono + max(jump, 0); lasted != want {
			t.Errorf("clock set by %v: lasted %v by its two times, want %v", jump, lasted, want)
		}
	}
}

// TestRestartWithTheClockSetForward saves times that lie centuries back at the next start.
func TestRestartWithTheClockSetForward(t *testing.T) {
	for _, to := range []time.Time{noon.AddDate(10, 0, 0), time.Date(9999, 12, 31, 23, 0, 0, 0, time.UTC)} {
		s := play(t)
		s.read(host, 300, 0, 0).at(sec(1)).read(host, 1000, 12, 0)
		s.step(host, ReasonFull, 2000)
		s.fresh = nil
		s.now = to
		s.restart("b1")
		s.read(host, 400, 12, 0).asks()
		for range 10 { // readings and ticks as they come
			s.now = s.now.Add(time.Second)
			s.read(host, 400, 12, 0).asks()
			s.take(s.tr.Tick(s.now))
			if step, ok := s.tr.Settle(s.now); ok {
				s.take(s.tr.Confirmed(s.now, step))
			}
		}
		s.expect("closed critical init drops=12", "step.confirmed full 1000-2000 effective").quiet()
		s.read(host, 2000, 12, 0)
		s.now = s.now.Add(time.Second)
		s.read(host, 2000, 15, 0).asks("full init") // what is real is seen at once
	}
}
