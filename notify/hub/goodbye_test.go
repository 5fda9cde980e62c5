package hub

import (
	"fmt"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/hub/web"
	"github.com/ctwarden/ctwarden/remediate"
)

// goodbye is a host's event of an agent that was stopped, at a time by the host's own clock.
func goodbye(t *testing.T, site, host string, at time.Time) notify.Outgoing {
	t.Helper()
	ev, err := notify.Encode(notify.Identity{Host: host, Site: site, Version: "v1"}, remediate.Event{
		ID: "ev-stop-" + host, Type: remediate.EventAgentStopped, Time: at.UTC(), Data: remediate.AgentState{},
	})
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// stateMade is stateOf with the time at which the host made it.
func stateMade(t *testing.T, site, host string, at time.Time) []byte {
	t.Helper()
	return stateWith(t, site, host, 5, "at", at.UTC())
}

// TestStoppedHostsOutlastATakeover has the agents of hosts whose clocks are behind say goodbye: the hub that leads next, which
// reads their last states anew, takes none of them for one that runs, and neither does its board.
func TestStoppedHostsOutlastATakeover(t *testing.T) {
	srv, nc, _ := newLab(t)
	const behind, hosts = 3 * time.Second, 4
	s := Settings{Fleet: fleet.Config{GroupBy: []string{fleet.GroupBySite}}}
	first := startHub(t, "first", nc, s)
	leads(t, first)
	for n := range hosts {
		host := fmt.Sprint("h", n)
		putState(t, nc, "gva", host, stateMade(t, "gva", host, time.Now().Add(-behind)))
		publish(t, nc, goodbye(t, "gva", host, time.Now().Add(-behind)))
	}
	testhost.Eventually(t, "all are stopped", func() bool { return stoppedAt(first.Hub) == hosts })
	first.stop()
	nc2, _ := connect(t, srv.URL())
	second := startHub(t, "second", nc2, s)
	leads(t, second)
	testhost.Eventually(t, "the last states are read", func() bool {
		n := 0
		second.hosts.each(func(hostState, time.Time) { n++ })
		return n == hosts
	})
	pause(t.Context(), 2*tickEvery) // the leader has taken them
	if n := stoppedAt(second.Hub); n != hosts {
		t.Errorf("%d of %d are stopped", n, hosts)
	}
	shown := 0
	second.hosts.since(0, func(r web.Row) {
		if r.Stopped {
			shown++
		}
	})
	if shown != hosts {
		t.Errorf("%d of %d are shown as stopped", shown, hosts)
	}
}

// stoppedAt is how many hosts the hub takes for stopped.
func stoppedAt(h *Hub) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fleet == nil {
		return 0
	}
	for host := range h.fleet.All() {
		if host.State == fleet.HostStopped {
			n++
		}
	}
	return n
}

// TestAStateDoesNotUndoAGoodbye: whether a host's state is from after its goodbye is the fleet's to tell, not the board's.
func TestAStateDoesNotUndoAGoodbye(t *testing.T) {
	h := newHosts()
	h.mark("gva", "a", "", false, true, nil)
	stopped := func() (is bool) {
		h.since(0, func(r web.Row) { is = r.Stopped })
		return is
	}
	if h.see(hostState{Site: "gva", Host: "a"}, time.Unix(1_700_000_000, 0)); !stopped() {
		t.Error("a state makes it run")
	}
	if h.mark("gva", "a", "", false, false, nil); stopped() {
		t.Error("it is stopped though the fleet says that it runs")
	}
}
