package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// TestCovers has tables that hold little be read once a second, as long as the kernel has memory for few entries of all, and
// at once where that is no longer so.
func TestCovers(t *testing.T) {
	const guests, room = 40, "sys/kernel/slab/nf_conntrack/total_objects"
	for _, c := range []struct {
		name string
		then func(t *testing.T, f *fragile)
		want int // so many of the guests are read
		host bool
	}{
		{"as it was", func(*testing.T, *fragile) {}, 0, false},
		{"a little more", func(t *testing.T, f *fragile) { f.put(t, room, "1500 N0=1500\n") }, 0, false},
		{"a rise", func(t *testing.T, f *fragile) { f.put(t, room, "1700 N0=1700\n") }, guests, true},
		{"a quarter of the limit", func(t *testing.T, f *fragile) { f.put(t, room, "17000\n") }, guests, true},
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

// TestCoversReadsAllEachSecond: a table that others cover goes unread for a second and no longer.
func TestCoversReadsAllEachSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFragile(t)
		f.guests(t, 3)
		f.put(t, "sys/kernel/slab/nf_conntrack/total_objects", "600\n")
		f.live(t, 0, func(a *Agent) {
			a.turn()
			a.ready = true
			turns, read := 0, 0
			for begin := time.Now(); time.Since(begin) < time.Minute; turns++ {
				read += readInTurn(a, a.nextSample(time.Now()))
				for _, s := range a.spaces {
					if age := time.Since(s.last.At); age > remediate.MaxPeriod {
						t.Fatalf("%s was not read for %v", s.ns, age)
					}
				}
			}
			// A limit of 65,536 is full in 328 ms at 200,000/s: it is looked at every 81 ms, and read every second.
			if turns < 720 || turns > 800 || read > 4*64 {
				t.Errorf("%d turns and %d readings of 4 tables in a minute, want about 780 and 240", turns, read)
			}
		})
	})
}

// TestCoversWhatOthersHold has the first namespace hold much: it is read each time, and those that hold little are not.
func TestCoversWhatOthersHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFragile(t)
		f.guests(t, 3)
		f.put(t, "sys/kernel/slab/nf_conntrack/total_objects", "31000\n")
		f.table(t, 30000, 65536, 0)
		f.live(t, 0, func(a *Agent) {
			a.turn()
			a.ready = true
			a.sample()
			for range 10 {
				if n := readInTurn(a, a.nextSample(time.Now())); n != 1 && n != 4 {
					t.Errorf("%d tables were read, want the first alone", n)
				}
			}
			f.put(t, "sys/kernel/slab/nf_conntrack/total_objects", "47000\n") // 17,000 more than the first one holds
			most := 0
			for begin := time.Now(); time.Since(begin) < 100*time.Millisecond; {
				most = max(most, readInTurn(a, a.nextSample(time.Now())))
			}
			if most != 4 {
				t.Errorf("%d tables were read, want all", most)
			}
		})
	})
}
