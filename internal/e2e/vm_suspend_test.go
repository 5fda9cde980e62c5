package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// asleep is how long the guest sleeps, in seconds: longer than an incident would stay open, and than a source may be
// silent.
const asleep = 20

// suspend puts the guest to sleep, with everything off but its memory, until its real-time clock wakes it.
func suspend() string {
	const alarm = "/sys/class/rtc/rtc0/wakealarm"
	return fmt.Sprintf("echo 0 >%s; echo +%d >%s; echo mem >/sys/power/state", alarm, asleep, alarm)
}

// TestPromiseMachineSuspended suspends a machine in peace, before a burst of connections comes, and while its incident
// is open.
func TestPromiseMachineSuspended(t *testing.T) {
	if !testhost.Long() {
		t.Skip("long form only")
	}
	g := bootGuest(t)
	g.sleeps(t)
	before := g.incident(t, suspend(), "true")
	before.wantLasted(t, 0)
	within := g.incident(t, "true", suspend())
	within.wantLasted(t, within.slept)
	both := g.incident(t, suspend(), suspend())
	both.wantLasted(t, both.slept)
	g.sleeps(t)
	g.incident(t, "true", "true")
	g.wantLimit(t)
	slept := g.Number(t, "cat /sys/power/suspend_stats/success")
	if slept != 6 {
		t.Errorf("the kernel says that it slept %d times, want 6", slept)
	}
	testhost.Held(t, "6.12 machine suspended",
		"kernel %s: asleep %d times for %d s, quiet and in an incident: 4 incidents, 4 steps, each once; closed after %v awake "+
			"(close_after %v) where it slept meanwhile; no source called degraded",
		g.Run(t, "uname -r"), slept, asleep, within.closed.Round(100*time.Millisecond), guestQuiet)
}

// sleeps suspends the guest with nothing else going on, and checks that it slept and that nothing was said of it.
func (g *guest) sleeps(t *testing.T) {
	t.Helper()
	from := len(g.Console.Since(0))
	wall, begin := g.Number(t, "date +%s"), time.Now()
	g.Run(t, suspend())
	least := int64(asleep - 3) // the alarm's whole seconds, and the time that falling asleep takes
	if by := g.Number(t, "date +%s") - wall; by < least || time.Since(begin) < time.Duration(least)*time.Second {
		t.Errorf("its clock went on by %d s in %v", by, time.Since(begin))
	}
	g.Run(t, "sleep 5")
	g.wantOnly(t, from, nil)
}
