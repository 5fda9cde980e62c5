package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// objects has the kernel's slab tell how many entries there are in all namespaces.
func (f *fragile) objects(t *testing.T, n string) {
	f.put(t, "sys/kernel/slab/nf_conntrack/objects", n+" N0="+n+"\n")
}

// withObjects runs an agent on a host with a small hash, where so many entries are seen and the kernel's slab tells of so
// many in all; "" where it does not tell.
func withObjects(t *testing.T, seen int, objects string, do func(t *testing.T, f *fragile, a *Agent)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f, _ := newSmallHash(t)
		f.traffic(t, seen, 0)
		if objects != "" {
			f.objects(t, objects)
		}
		f.live(t, 0, func(a *Agent) { do(t, f, a) })
	})
}

// A namespace that nobody can see has many entries, which a resize would move too: the hash is sized once they are gone.
func TestPresizeWaitsForWhatIsHidden(t *testing.T) {
	withObjects(t, 20000, "44445", func(t *testing.T, f *fragile, a *Agent) {
		a.pass(3)
		f.hashIs(t, a, "hidden entries", "16384", remediate.HashStall)
		if s := a.status().Hash; s.StallUS != 20000 || s.AtLeast {
			t.Errorf("%+v, want the stall of 44,445 entries", s)
		}
		f.objects(t, "30000")
		a.pass(12)
		f.hashIs(t, a, "fewer of them", "131072", remediate.HashSized)
		if s := a.status().Hash; s.Last == nil || s.Last.Entries != 30000 {
			t.Errorf("last resize %+v", s.Last)
		}
	})
}

// Entries that came to a namespace since it was last read are no more hidden once it is read.
func TestHiddenEntriesAreNotCountedTwice(t *testing.T) {
	withObjects(t, 20000, "100000", func(t *testing.T, f *fragile, a *Agent) {
		a.turn()
		a.hash.objectsAt = time.Time{}
		for _, c := range []struct {
			seen          int
			hidden, stall uint64
		}{{20000, 80000, 45000}, {70000, 30000, 31500}, {50000, 50000, 45000}} {
			f.traffic(t, c.seen, 0)
			for _, s := range a.spaces {
				a.read(s)
			}
			if got := a.hiddenNow(time.Now()); got != c.hidden {
				t.Errorf("%d seen: %d hidden, want %d", c.seen, got, c.hidden)
			}
			// With 70,000 the table is full, and no resize in quiet depends on the rest.
			if s := a.status().Hash; uint64(s.StallUS) != c.stall || s.AtLeast != (c.seen == 70000) {
				t.Errorf("%d seen: %+v, want a stall of %d µs", c.seen, s, c.stall)
			}
		}
	})
}

// The status asks the kernel, however long nobody did, where something depends on it; the kernel walks a list for it.
func TestStatusAsksWhereItMatters(t *testing.T) {
	withObjects(t, 20000, "30000", func(t *testing.T, f *fragile, a *Agent) {
		a.pass(3)
		f.hashIs(t, a, "few hidden entries", "131072", remediate.HashSized)
		asked := a.hash.objectsAt
		elapse(time.Minute)
		if s := a.status().Hash; s.StallUS != 9000 || !s.AtLeast || a.hash.objectsAt != asked {
			t.Errorf("%+v, want the stall of the 20,000 that are seen, and the kernel not asked", s)
		}
	})
	withObjects(t, 20000, "50000", func(t *testing.T, f *fragile, a *Agent) {
		a.turn()
		a.status()
		f.objects(t, "60000")
		elapse(2 * time.Second)
		if s := a.status().Hash; s.StallUS != 27000 || s.AtLeast {
			t.Errorf("%+v, want the stall of 60,000 entries", s)
		}
	})
}

// While connections are refused, the kernel's last answer is used, unless there is none or it is old.
func TestKernelIsNotAskedWhileRefusing(t *testing.T) {
	for _, c := range []struct {
		name     string
		refusing bool
		last     time.Duration // since it was asked; negative: never
		want     uint64
	}{
		{"in quiet", false, 2 * time.Second, 70000},
		{"refusing", true, 2 * time.Second, 10000},
		{"refusing, the answer old", true, 2 * time.Minute, 24464},
		{"refusing, never asked", true, -1, 24464},
	} {
		t.Run(c.name, func(t *testing.T) {
			withObjects(t, 20000, "30000", func(t *testing.T, f *fragile, a *Agent) {
				a.hash.after = time.Now().Add(time.Hour) // not in quiet
				a.turn()
				now := time.Now()
				if c.last >= 0 {
					a.hiddenNow(now)
					now = now.Add(c.last)
				}
				if c.refusing {
					f.traffic(t, 65536, 500)
					a.readWith(a.spaces[a.initNetNS().Inode], true)
				}
				if a.refusing() != c.refusing {
					t.Fatalf("refusing: %v", a.refusing())
				}
				f.objects(t, "90000")
				if got := a.hiddenNow(now); got != c.want {
					t.Errorf("%d hidden, want %d", got, c.want)
				}
			})
		})
	}
}

// Where the kernel does not tell, what is seen is all there is to go by, and the status says so.
func TestStallIsAtLeastThat(t *testing.T) {
	withObjects(t, 60000, "", func(t *testing.T, f *fragile, a *Agent) {
		a.pass(3)
		if s := a.status().Hash; s.StallUS != 27000 || !s.AtLeast {
			t.Errorf("%+v", s)
		}
	})
}

// A step that needs a larger hash counts what is hidden too, and only such a step asks the kernel for it.
func TestStepCountsWhatIsHidden(t *testing.T) {
	for _, c := range []struct {
		name    string
		to      uint64
		objects string
		asked   bool
		want    remediate.Reason // of a step by hand
	}{
		{"bearable with it", 300_000, "44444", true, remediate.ReasonManual},
		{"not bearable with it", 300_000, "44445", true, remediate.ReasonChainLimit},
		{"no resize needed", 100_000, "44445", false, remediate.ReasonManual},
	} {
		t.Run(c.name, func(t *testing.T) {
			withObjects(t, 20000, c.objects, func(t *testing.T, f *fragile, a *Agent) {
				a.hash.after = time.Now().Add(time.Hour) // not in quiet
				a.turn()
				limits, err := a.table.Limits()
				if err != nil {
					t.Fatal(err)
				}
				ask := remediate.Ask{Reason: remediate.ReasonManual, To: c.to}
				ask.Reading.NetNS = a.initNetNS()
				d := a.decide(time.Now(), ask, limits)
				if d.Reason != c.want || a.hash.known != c.asked {
					t.Errorf("%s, the kernel asked: %v; want %s and %v", d.Reason, a.hash.known, c.want, c.asked)
				}
			})
		})
	}
}
