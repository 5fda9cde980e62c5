package agent

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// room is where the kernel tells for how many entries it has memory.
const room = "sys/kernel/slab/nf_conntrack/total_objects"

// TestCovers has tables that hold little go unread as long as the kernel has memory for few entries of all, and be read at
// once where that is no longer so.
func TestCovers(t *testing.T) {
	const guests = 40
	for _, c := range []struct {
		name string
		then func(t *testing.T, f *fragile)
		want int // so many of the guests are read
		host bool
	}{
		{"as it was", func(*testing.T, *fragile) {}, 0, false},
		{"a little more", func(t *testing.T, f *fragile) { f.put(t, room, "1500 N0=1500\n") }, 0, false},
		{"a rise", func(t *testing.T, f *fragile) { f.put(t, room, "1700 N0=1700\n") }, guests, true},
		{"a limit that somebody set", func(t *testing.T, f *fragile) { f.table(t, 100, 60000, 0) }, guests, true},
		{"a kernel that does not tell any more", func(t *testing.T, f *fragile) { f.put(t, room, "\n") }, guests, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFragile(t)
				f.guests(t, guests)
				f.put(t, room, "600 N0=400 N1=200\n")
				f.live(t, 0, func(a *Agent) {
					a.turn()
					a.ready = true
					a.sample()
					for range 2 {
						if n := readInTurn(a, a.nextSample(time.Now())); n != 0 {
							t.Fatalf("%d tables were read, want none", n)
						}
					}
					c.then(t, f)
					want := c.want
					if c.host {
						want++
					}
					if n := readInTurn(a, a.nextSample(time.Now())); n != want {
						t.Errorf("%d tables were read, want %d", n, want)
					}
				})
			})
		})
	}
}

// readInTurn lets time go by and counts the tables that are read in the turn after that.
func readInTurn(a *Agent, after time.Duration) (n int) {
	elapse(after)
	now := time.Now()
	a.sample()
	for _, s := range a.spaces {
		if s.last.At.Equal(now) {
			n++
		}
	}
	return n
}

// watching has an agent watch the first namespace, which holds so many entries, and three that hold little, where the kernel
// has memory for so many entries in all; 0: it does not tell.
func watching(t *testing.T, held, memory int, do func(t *testing.T, f *fragile, a *Agent)) {
	synctest.Test(t, func(t *testing.T) {
		f := newFragile(t)
		f.guests(t, 3)
		f.table(t, held, 65536, 0)
		if memory > 0 {
			f.put(t, room, fmt.Sprintln(memory))
		}
		f.live(t, 0, func(a *Agent) {
			a.turn()
			a.ready = true
			a.sample()
			do(t, f, a)
		})
	})
}

// readFor lets turns follow each other for so long, and counts them, and how often the first table was read, and the others.
// After each turn it calls look.
func readFor(a *Agent, d time.Duration, look func()) (turns, first, others int) {
	for begin := time.Now(); time.Since(begin) < d; turns++ {
		elapse(a.nextSample(time.Now()))
		now := time.Now()
		a.sample()
		for _, s := range a.spaces {
			switch {
			case !s.last.At.Equal(now):
			case s.ns.Init:
				first++
			default:
				others++
			}
		}
		look()
	}
	return turns, first, others
}

// TestCoversReadsAllNowAndThen: a table that others cover goes unread for four seconds and no longer, the first one for one.
func TestCoversReadsAllNowAndThen(t *testing.T) {
	watching(t, 100, 600, func(t *testing.T, f *fragile, a *Agent) {
		turns, first, others := readFor(a, time.Minute, func() {
			for _, s := range a.spaces {
				most := 4 * time.Second
				if s.ns.Init {
					most = remediate.MaxPeriod
				}
				if age := time.Since(s.last.At); age > most {
					t.Fatalf("%s was not read for %v", s.ns, age)
				}
			}
		})
		// A limit of 65,536 is full in 328 ms at 200,000/s: it is looked at every 73 ms.
		if turns < 800 || turns > 880 {
			t.Errorf("%d turns in a minute, want about 850", turns)
		}
		if first < 60 || first > 64 || others < 3*15 || others > 3*16 {
			t.Errorf("the first was read %d times in a minute, the three others %d times", first, others)
		}
	})
}

// TestSingleTableIsRead: one table is read as cheaply as the kernel is asked what all hold.
func TestSingleTableIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFragile(t)
		f.put(t, room, "600 N0=600\n")
		f.live(t, 0, func(a *Agent) {
			a.turn()
			a.ready = true
			for range 20 {
				if n := readInTurn(a, a.nextSample(time.Now())); n != 1 {
					t.Errorf("%d tables were read, want the one", n)
				}
			}
			if a.cover != (cover{}) {
				t.Errorf("the kernel was asked: %+v", a.cover)
			}
		})
	})
}

// TestCoversWhatOthersHold has the first namespace hold much: it is read each time, what it holds is taken off, and those
// that hold little are covered until the rest comes to a quarter of the limit, however slowly.
func TestCoversWhatOthersHold(t *testing.T) {
	const held = 30_000
	watching(t, held, held+16_000, func(t *testing.T, f *fragile, a *Agent) {
		for range 12 { // half a second
			if n := readInTurn(a, a.nextSample(time.Now())); n != 1 {
				t.Fatalf("%d tables were read, want the first alone", n)
			}
		}
		elapse(remediate.MaxPeriod)
		a.sample()
		f.put(t, room, fmt.Sprintln(held+16_385)) // no rise to speak of, but a quarter of the limit
		most := 0
		for begin := time.Now(); time.Since(begin) < 200*time.Millisecond; {
			most = max(most, readInTurn(a, a.nextSample(time.Now())))
		}
		if most != 4 {
			t.Errorf("%d tables were read, want all", most)
		}
	})
}

// TestCoversShowsHowFast has a table fill up that was last read most of a second ago: since the others covered it until
// just now, the first reading shows how fast that was, and the limit is raised at once.
func TestCoversShowsHowFast(t *testing.T) {
	watching(t, 100, 600, func(t *testing.T, f *fragile, a *Agent) {
		for range 10 { // 0.8 s
			readInTurn(a, a.nextSample(time.Now()))
		}
		f.traffic(t, 41_000, 0) // 500,000 a second
		f.put(t, room, "41600\n")
		readInTurn(a, a.nextSample(time.Now()))
		if got := strings.TrimSpace(f.limit(t)); got != "131072" {
			t.Errorf("the limit is %s, want it raised from 65536 to 131072", got)
		}
	})
}

// TestWhereNothingIsCovered reads tables that hold little half as often as the first, where the kernel does not tell what all
// hold, or where that is too much.
func TestWhereNothingIsCovered(t *testing.T) {
	for name, memory := range map[string]int{"not told": 0, "too much": 17_000} {
		t.Run(name, func(t *testing.T) { readHalfAsOften(t, memory) })
	}
}

func readHalfAsOften(t *testing.T, memory int) {
	watching(t, 100, memory, func(t *testing.T, f *fragile, a *Agent) {
		for range 2 {
			readInTurn(a, a.nextSample(time.Now()))
		}
		_, first, others := readFor(a, 10*time.Second, func() {})
		// Every 74 ms, and 164 ms or with the one before.
		if first < 128 || first > 142 || others > 3*71 || others < 3*60 {
			t.Errorf("the first was read %d times in 10 s, the three others %d times", first, others)
		}
	})
}

// TestCoversWhileAnIncidentIsOpen: a table that stands high is no reason to read all others in haste.
func TestCoversWhileAnIncidentIsOpen(t *testing.T) {
	watching(t, 60_000, 61_000, func(t *testing.T, f *fragile, a *Agent) {
		if len(a.tracker.Open()) != 1 {
			t.Fatal("no incident is open")
		}
		for range 20 {
			if n := readInTurn(a, a.nextSample(time.Now())); n > 1 {
				t.Errorf("%d tables were read, want the first alone", n)
			}
		}
	})
}

// TestTroubledAreNotSpared: a table that has an incident is read for itself, also when it holds little again.
func TestTroubledAreNotSpared(t *testing.T) {
	watching(t, 60_000, 1000, func(t *testing.T, f *fragile, a *Agent) {
		f.traffic(t, 500, 0)
		elapse(20 * time.Millisecond)
		a.sample()
		if len(a.tracker.Open()) != 1 {
			t.Fatal("no incident is open")
		}
		// Every 73 ms, or in a turn before it.
		if _, first, others := readFor(a, 700*time.Millisecond, func() {}); first < 9 || first > 12 || others != 0 {
			t.Errorf("the one that has the incident was read %d times in 0.7 s, the three others %d times", first, others)
		}
	})
}

// TestNoneIsSparedWhileAStepSettles: what a step did not prevent may be anywhere.
func TestNoneIsSparedWhileAStepSettles(t *testing.T) {
	watching(t, 100, 66_000, func(t *testing.T, f *fragile, a *Agent) {
		f.traffic(t, 65536, 500)
		for range 10 {
			readInTurn(a, a.nextSample(time.Now()))
		}
		if !a.tracker.Settling() {
			t.Fatal("no step's outcome is awaited")
		}
		for begin := time.Now(); time.Since(begin) < 1500*time.Millisecond; {
			readInTurn(a, a.nextSample(time.Now()))
			for _, s := range a.spaces {
				age := time.Since(s.counted)
				if time.Since(begin) > countersSettling && age > countersSettling*5/4 {
					t.Fatalf("the counters of %s were read %v ago", s.ns, age)
				}
			}
		}
	})
}
