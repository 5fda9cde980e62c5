package agent

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// flows are what comes to one namespace: some it holds from the start, the others at one speed from a time on.
type flows struct {
	file  string // where the kernel shows how many there are
	holds int
	rate  float64 // a second
	from  time.Duration
	most  int // in all
}

// startLimit is what the limit is at first.
const startLimit = 65536

func (l flows) at(t time.Duration) int {
	return min(l.most, l.holds+int(max(0, t-l.from).Seconds()*l.rate))
}

// TestCoversRandomLoads has random loads come to several namespaces, as fast as max_insert_rate each. Whether one
// number covers them or each is read for itself, none of them is full before the limit is raised.
func TestCoversRandomLoads(t *testing.T) {
	covered, alone, raised := 0, 0, 0
	const runs = 20
	for seed := range runs {
		synctest.Test(t, func(t *testing.T) {
			c, n, limit := outrun(t, rand.New(rand.NewPCG(4, uint64(seed))))
			covered, alone = covered+c, alone+n
			if limit > startLimit {
				raised++
			}
		})
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
	if covered < runs || alone < runs || raised < runs/4 {
		t.Errorf("%d turns in which tables were covered, %d in which they were not, %d limits raised: this shows nothing", covered, alone, raised)
	}
}

// outrun runs an agent for some seconds and tells in how many turns tables that hold little were covered and were not.
func outrun(t *testing.T, random *rand.Rand) (covered, alone, limit int) {
	f := newFragile(t)
	p := remediate.DefaultPolicy()
	p.Mode, p.Ceiling, p.MemoryShare = remediate.ModeRemediate, 1<<20, 0.5
	f.cfg.Policy = p
	guests := 1 + random.IntN(6)
	f.guests(t, guests)
	// The kernel keeps memory for entries that are gone; the loads begin when a table may have gone unread for seconds.
	kept := random.IntN(startLimit / coverShare)
	begins := time.Duration(random.Float64() * float64(5*time.Second))
	loads := make([]flows, 1+guests)
	for i := range loads {
		l := flows{file: fmt.Sprintf("proc/%d/net/stat/nf_conntrack", 999+i), holds: random.IntN(500)}
		switch random.IntN(4) {
		case 0: // it holds much
			l.holds = random.IntN(30_000)
		case 1:
			l.rate = p.MaxInsertRate * random.Float64()
		case 2:
			l.rate = p.MaxInsertRate
		}
		l.from, l.most = begins+time.Duration(random.Float64()*float64(3*time.Second)), l.holds+random.IntN(150_000)
		loads[i] = l
		kept += l.holds
	}
	show := func(at time.Duration) {
		all := 0
		for i, l := range loads {
			n := l.at(at)
			all += n
			if n > limit {
				t.Fatalf("after %v %d entries of %+v: more than the limit, %d", at, n, l, limit)
			}
			if i == 0 {
				f.traffic(t, n, 0)
			} else {
				f.put(t, l.file, fmt.Sprintf(scratchStat, n, 0))
			}
		}
		f.put(t, room, fmt.Sprintln(max(all+random.IntN(500), kept)))
	}
	limit = startLimit
	show(0)
	f.live(t, 0, func(a *Agent) {
		a.turn()
		a.ready = true
		for begin := time.Now(); time.Since(begin) < begins+5*time.Second; {
			elapse(a.nextSample(time.Now()))
			show(time.Since(begin))
			a.sample()
			switch {
			case a.cover.off:
				alone++
			case a.cover.known:
				covered++
			}
			var err error
			if limit, err = strconv.Atoi(strings.TrimSpace(f.limit(t))); err != nil {
				t.Fatal(err)
			}
		}
	})
	return covered, alone, limit
}
