package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

const (
	hour       = 3600             // in seconds
	tenYears   = 315360000        // in seconds
	guestQuiet = 6 * time.Second  // close_after of guestConfig
	slack      = 10 * time.Second // for an emulated processor on a busy machine
)

// setClock moves the guest's wall clock by so many seconds.
func setClock(seconds int) string {
	return fmt.Sprintf("date -s @$(($(date +%%s) + %d)) >/dev/null", seconds)
}

// TestPromiseClockReallySet sets the wall clock of a machine, before a burst of connections comes and while its incident
// is open, each time an hour and ten years forth and back.
func TestPromiseClockReallySet(t *testing.T) {
	if !testhost.Long() {
		t.Skip("long form only")
	}
	g := bootGuest(t)
	var took []string
	for _, by := range []int{hour, -hour, tenYears, -tenYears} {
		e := g.incident(t, setClock(by), setClock(-by))
		// The two times of an incident are the wall clock's: set forth, they lie farther apart.
		e.wantLasted(t, time.Duration(max(-by, 0))*time.Second)
		took = append(took, e.closed.Round(100*time.Millisecond).String())
	}
	g.pausedByOthers(t)
	g.incident(t, "true", setClock(hour))
	g.budgetSpent(t)
	g.wantLimit(t)
	testhost.Held(t, "6.11 clock really set",
		"kernel %s: an hour and ten years forth and back, quiet and in an incident: 5 incidents, 5 steps, each once; closed %s "+
			"after the step (close_after %v); foreign_pause over neither too soon nor too late, steps_per_hour not too soon",
		g.Run(t, "uname -r"), strings.Join(took, ", "), guestQuiet)
}

// pausedByOthers has somebody else write the limit, then the clock set: the pause ends when its time is over by the
// clock that nobody sets, and no sooner or later.
func (g *guest) pausedByOthers(t *testing.T) {
	t.Helper()
	from := len(g.Console.Since(0))
	g.limit -= 10
	g.Run(t, fmt.Sprintf("echo %d >/proc/sys/net/netfilter/nf_conntrack_max", g.limit))
	g.Says(t, from, "limit.changed: ")
	g.flood(t, setClock(hour))
	g.Says(t, from, " not done: foreign_change ")
	g.endFlood(t)
	g.Says(t, from, "incident.closed: ")
	g.Run(t, setClock(-2*hour)+"; sleep 14")
	g.wantOnly(t, from, map[string]int{
		"limit.changed": 1, "incident.opened": 1, "step.refused": 1, "incident.closed": 1, "incident.updated": -1,
	})
}

// budgetSpent has the clock set forth by more than the hour that the budget is for.
func (g *guest) budgetSpent(t *testing.T) {
	t.Helper()
	from := len(g.Console.Since(0))
	g.flood(t, setClock(2*hour))
	g.Says(t, from, " not done: budget ")
	g.endFlood(t)
	g.Says(t, from, "incident.closed: ")
	g.wantOnly(t, from, map[string]int{
		"incident.opened": 1, "step.refused": 1, "incident.closed": 1, "incident.updated": -1,
	})
}

// episode is what an incident was like, by the clock of the machine that the test runs on.
type episode struct {
	slept  time.Duration // how long the command in the incident took
	closed time.Duration // from the step to the closing, less slept
	lasted time.Duration // what the agent says of it
}

// wantLasted checks what the agent says of an incident, in which the wall clock went so far ahead of the monotonic one.
func (e episode) wantLasted(t *testing.T, ahead time.Duration) {
	t.Helper()
	if by := e.lasted - ahead; by < guestQuiet-2*time.Second || by > guestQuiet+slack {
		t.Errorf("it says that it lasted %v, want about %v", e.lasted, guestQuiet+ahead)
	}
}

// incident fills the table until the kernel refuses, with a command just before it and another one right after the step,
// and checks that all was done and said once.
func (g *guest) incident(t *testing.T, before, within string) episode {
	t.Helper()
	from := len(g.Console.Since(0))
	g.flood(t, before)
	applied := g.Says(t, from, "step.applied: ")
	var e episode
	begin := time.Now()
	g.Run(t, within)
	e.slept = time.Since(begin)
	g.Says(t, from, "step.confirmed: ")
	closed := g.Says(t, from, "incident.closed: ")
	e.closed = closed.At.Sub(applied.At) - e.slept
	g.endFlood(t)
	g.wantOnly(t, from, map[string]int{
		"incident.opened": 1, "step.applied": 1, "step.confirmed": 1, "incident.closed": 1, "incident.updated": -1,
	})
	if e.closed < guestQuiet-time.Second || e.closed > guestQuiet+slack {
		t.Errorf("closed %v after the step, want about %v", e.closed, guestQuiet)
	}
	if !regexp.MustCompile(`, \d+ refused(, \d+ of these in the pause [^,]*)?, \d+ lines?, last step effective`).MatchString(closed.Text) {
		t.Errorf("closed: %s", closed.Text)
	}
	over := regexp.MustCompile(`over after (\S+):`).FindStringSubmatch(closed.Text)
	if over == nil {
		t.Fatalf("closed: %s", closed.Text)
	}
	var err error
	if e.lasted, err = time.ParseDuration(over[1]); err != nil {
		t.Fatal(err)
	}
	to := regexp.MustCompile(`\d+ → (\d+) \(full\)`).FindStringSubmatch(applied.Text)
	if to == nil {
		t.Fatalf("applied: %s", applied.Text)
	}
	if g.limit, err = strconv.ParseUint(to[1], 10, 64); err != nil {
		t.Fatal(err)
	}
	return e
}

// flood runs the command, and then makes a namespace with connections that take six tenths of the table, which is when an
// incident may be foreseen, and four seconds later twice as many, so that the agent knows the namespace when the kernel
// refuses.
func (g *guest) flood(t *testing.T, command string) {
	t.Helper()
	g.Run(t, command)
	g.Run(t, fmt.Sprintf("flood -kind established -flows %d -times 2 -pause 4s -stay 60s >/tmp/flood 2>&1 & flood=$!", g.limit*6/10))
	g.Run(t, "until grep -q refused /tmp/flood; do sleep 0.1; done; sleep 3")
}

// endFlood ends the namespace and all connections in it. The next one may get its number.
func (g *guest) endFlood(t *testing.T) {
	t.Helper()
	g.Run(t, "kill $flood; wait $flood")
}

// wantOnly holds the events since a line against how many there are to be of each type; -1: any number.
func (g *guest) wantOnly(t *testing.T, from int, want map[string]int) {
	t.Helper()
	got := map[string]int{}
	for _, l := range g.Console.Since(from) {
		if m := regexp.MustCompile(`\t([a-z]+\.[a-z]+): `).FindStringSubmatch(l.Text); m != nil {
			got[m[1]]++
		}
		if strings.Contains(l.Text, "\tWARN\tproblem") || strings.Contains(l.Text, "panic") {
			t.Errorf("the agent says: %s", l.Text)
		}
	}
	for typ, n := range want {
		if n >= 0 && got[typ] != n {
			t.Errorf("%d %s, want %d", got[typ], typ, n)
		}
	}
	for typ, n := range got {
		if _, ok := want[typ]; !ok {
			t.Errorf("%d %s, want none", n, typ)
		}
	}
}

// wantLimit checks that the kernel has what the agent left.
func (g *guest) wantLimit(t *testing.T) {
	t.Helper()
	if n := g.Number(t, "cat /proc/sys/net/netfilter/nf_conntrack_max"); uint64(n) != g.limit {
		t.Errorf("the limit is %d, want %d", n, g.limit)
	}
}
