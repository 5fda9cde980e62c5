package agent

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// guests shows n namespaces, each with a process of its own.
func (f *fragile) guests(t *testing.T, n int) {
	for pid := 1000; pid < 1000+n; pid++ {
		process := fmt.Sprintf("proc/%d/", pid)
		f.link(t, process+"ns/net", fmt.Sprintf("net:[%d]", 4026532000+pid))
		f.put(t, process+"comm", "guest\n")
		f.put(t, process+"net/stat/nf_conntrack", fmt.Sprintf(scratchStat, 10, 0))
	}
}

// TestCountersOfManyAreReadInSeveralTurns has more namespaces due at once than may be entered in one turn. The one that may
// fill up soon is in the first of them, and each of the others in one.
func TestCountersOfManyAreReadInSeveralTurns(t *testing.T) {
	const many = 40
	synctest.Test(t, func(t *testing.T) {
		f := newFragile(t)
		f.guests(t, many)
		f.live(t, 0, func(a *Agent) {
			a.turn()
			if got := countedAt(a, time.Now()); got != many+1 {
				t.Fatalf("%d read before the agent is ready, want all %d", got, many+1)
			}
			a.ready = true
			var hot *space
			for _, s := range a.spaces {
				if !s.ns.Init {
					hot = s
				}
			}
			elapse(countersStill)
			hot.period, hot.next = urgentPeriod/2, time.Now()
			now := time.Now()
			for turn, want := range []int{1 + 1 + visitMost, 2 + 2*visitMost, many + 1} {
				a.sample()
				if got := countedAt(a, now); got != want {
					t.Errorf("turn %d: %d were read, want %d", turn, got, want)
				}
				if hot.counted != now {
					t.Errorf("turn %d: the one that may fill up soon waits", turn)
				}
				if wait := a.nextSample(now); (wait == 0) != (want < many+1) {
					t.Errorf("turn %d: the next is in %v", turn, wait)
				}
			}
		})
	})
}

// TestManyNamedAreNotAllEntered has records name more of the kernel's namespaces than may be entered in one go, as forged
// ones do: the fullest are entered.
func TestManyNamedAreNotAllEntered(t *testing.T) {
	const many = 2 * visitMost
	named := map[uint64]bool{}
	var inodes []uint64
	for range many {
		inode := testkernel.Scratch(t).Inode
		inodes, named[inode] = append(inodes, inode), true
	}
	h := newScratch(t)
	h.cfg.Root, h.cfg.Policy.Mode = "/", remediate.ModeObserve
	a := h.open(t)
	a.sample()
	fullest := a.spaces[inodes[many/2]]
	fullest.last.Count = fullest.last.Max / 2
	before := time.Now()
	a.check(named)
	entered, read := 0, 0
	for _, inode := range inodes {
		if !a.spaces[inode].counted.Before(before) {
			entered++
		}
	}
	if entered != visitMost || fullest.counted.Before(before) {
		t.Errorf("%d were entered, want %d; the fullest of them at %v, before %v", entered, visitMost, fullest.counted, before)
	}

	// Where a record names another one, they are all counted, and no more of them entered than that. Other tests may have
	// namespaces at the same time, some of which may be among those entered.
	for _, s := range a.spaces {
		s.counted = time.Time{}
	}
	before, entered, read = time.Now(), 0, 0
	a.check(map[uint64]bool{0: true})
	for inode, s := range a.spaces {
		if !s.ns.Init && !s.counted.IsZero() {
			entered++
		}
		if named[inode] && s.last.At.After(before) {
			read++
		}
	}
	if entered != visitMost || read != many {
		t.Errorf("%d were entered, want %d; %d were counted, want %d", entered, visitMost, read, many)
	}
}

// TestStepComesBeforeALook has a step and a look for namespaces be due at once: among many processes a look takes long.
func TestStepComesBeforeALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFragile(t)
		var agent *Agent
		var atStep []time.Time // when the last look was, at each stage of a step
		f.cfg.Fail = func(string) { atStep = append(atStep, agent.discoveredAt) }
		f.live(t, 0, func(a *Agent) {
			agent = a
			a.turn()
			f.table(t, 65_000, 65536, 0)
			elapse(discoverMost)
			before := a.discoveredAt
			a.sample()
			if a.discoveredAt == before || len(atStep) == 0 || atStep[0] != before {
				t.Errorf("looked at %v and before at %v; the step knew of %v", a.discoveredAt, before, atStep)
			}
		})
	})
}

// countedAt is how many namespaces' counters were read at a time.
func countedAt(a *Agent, at time.Time) (n int) {
	for _, s := range a.spaces {
		if s.counted.Equal(at) {
			n++
		}
	}
	return n
}

// TestUrgentAreReadFirst has the tables that matter read before the others' counters are.
func TestUrgentAreReadFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFragile(t)
		f.guests(t, 3)
		f.live(t, 0, func(a *Agent) {
			a.turn()
			elapse(countersStill)
			var inode uint64
			for inode = range a.spaces {
				if inode != hostInode {
					break
				}
			}
			a.spaces[inode].period = urgentPeriod - 1
			due := a.dueAt(time.Now())
			names := map[uint64]bool{}
			for _, s := range due.urgent {
				names[s.ns.Inode] = true
			}
			if len(due.urgent) != 2 || !names[hostInode] || !names[inode] || len(due.calm) != 2 {
				t.Errorf("first %v, then %d others; want the host and %d first", names, len(due.calm), inode)
			}
		})
	})
}

func TestIdleDiscovery(t *testing.T) {
	for _, c := range []struct {
		name       string
		cost, want time.Duration
	}{
		{"few processes", time.Millisecond, 9 * time.Second},
		{"200 namespaces", 4 * time.Millisecond, 20 * time.Second},
		{"thousands of processes", 40 * time.Millisecond, 25 * time.Second},
	} {
		if got := idleDiscovery(c.cost); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestDearLookWaits puts off a look in the course of which a table may fill up that a step would give room, until it has
// room or glanceEvery is over.
func TestDearLookWaits(t *testing.T) {
	const limit, cost, period = 65_536, 60 * time.Millisecond, 12 * time.Millisecond
	full := int(remediate.DefaultPolicy().MaxInsertRate * (cost + period).Seconds()) // so many free entries are not enough
	for _, c := range []struct {
		name string
		mode remediate.Mode
		free func(waited time.Duration) int
		all  uint64 // what all hold that hold little; 0: it is not told
		want time.Duration
	}{
		{"room", remediate.ModeRemediate, func(time.Duration) int { return full + 1 }, 0, 0},
		{"a table that a step gives room", remediate.ModeRemediate, func(waited time.Duration) int {
			if waited < 300*time.Millisecond {
				return full - 1
			}
			return limit
		}, 0, 300 * time.Millisecond},
		{"a table that stays full", remediate.ModeRemediate, func(time.Duration) int { return 0 }, 0, glanceEvery},
		{"a full table that gets no step", remediate.ModeObserve, func(time.Duration) int { return 0 }, 0, 0},
		{"tables that go unread", remediate.ModeRemediate, func(time.Duration) int { return limit }, uint64(limit - full - 1), 0},
		{"what may have filled one", remediate.ModeRemediate, func(time.Duration) int { return limit }, uint64(limit - full + 1), glanceEvery},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &space{period: period}
			scratch := newScratch(t) // without loadavg: whether there are new ones cannot be told, but at each glance
			scratch.cfg.Policy.Mode = c.mode
			a := scratch.open(t)
			a.discoverCost, a.cover = cost, cover{known: c.all > 0, entries: c.all}
			a.spaces = map[uint64]*space{hostInode: s, hostInode + 1: {period: time.Second}}
			begin := time.Now()
			a.discoveredAt = begin.Add(-discoverEvery)
			for waited := time.Duration(0); ; waited += 10 * time.Millisecond {
				s.last = remediate.Reading{Count: uint64(limit - c.free(waited)), Max: limit}
				if !a.looks(begin.Add(waited)) && waited <= glanceEvery {
					continue
				}
				if waited != c.want {
					t.Errorf("it waited %v, want %v", waited, c.want)
				}
				break
			}
			if a.discover(begin); !a.lookWanted.IsZero() {
				t.Error("it is wanted still")
			}
		})
	}
}

// TestNewsIsLookedFor has several looks follow each other where namespaces come and go, as far as they are cheap.
func TestNewsIsLookedFor(t *testing.T) {
	for _, c := range []struct {
		name        string
		cost, apart time.Duration
		looks       int // in 30 s
	}{
		{"few processes", time.Millisecond, time.Second, 30},
		{"few processes, and a storm of mounts", time.Millisecond, 50 * time.Millisecond, 320},
		{"thousands of processes", 40 * time.Millisecond, 50 * time.Millisecond, 8},
		{"a hundred thousand processes", time.Second, 50 * time.Millisecond, 4},
	} {
		var a Agent
		now, looks := time.Now(), 0
		for range 30 * time.Second / c.apart {
			if now = now.Add(c.apart); now.Sub(a.discoveredAt) >= newsAfter(a.discoverSpent) {
				a.spend(now, c.cost)
				looks++
			}
		}
		if looks > c.looks || looks < c.looks*9/10 {
			t.Errorf("%s: %d looks in 30 s, want about %d", c.name, looks, c.looks)
		}
	}
}

// TestDearLooksAreForgotten has looks take long for an hour and then be cheap again: news must not wait for that.
func TestDearLooksAreForgotten(t *testing.T) {
	var a Agent
	now := time.Now()
	for range 3600 {
		if now = now.Add(time.Second); now.Sub(a.discoveredAt) >= newsAfter(a.discoverSpent) {
			a.spend(now, time.Second)
		}
	}
	a.spend(now.Add(discoverEvery), time.Millisecond)
	if wait := newsAfter(a.discoverSpent); wait > time.Second {
		t.Errorf("%v after a cheap look", wait)
	}
}

// TestMemoryIsReadAhead has no step wait for what the host has to be read: it is young wherever a table stands high.
func TestMemoryIsReadAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFragile(t)
		f.live(t, 0, func(a *Agent) {
			f.table(t, 60_000, 65536, 0)
			a.turn()
			elapse(memoryAhead)
			a.sample()
			if age := time.Since(a.memoryAt); age != 0 {
				t.Errorf("%v old where the table stands at 92 %%", age)
			}
		})
	})
}
