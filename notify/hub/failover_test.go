package hub

import (
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testpager"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/fleet"
)

// dialAll connects as the programs do.
func dialAll(t *testing.T, servers []string, h **running) *nats.Conn {
	t.Helper()
	tell := func(up bool) {
		if h != nil && *h != nil {
			(*h).Connected(up)
		}
	}
	nc, err := notify.Dial{Servers: servers, Name: "test"}.Connect(
		nats.DisconnectErrHandler(func(*nats.Conn, error) { tell(false) }), nats.ReconnectHandler(func(*nats.Conn) { tell(true) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// TestPromiseHubCluster has three servers with three copies of everything, each a process of its own, and two hubs. In
// the midst of a storm of incidents the server is killed that leads the hubs' bucket; it comes back, and the server is
// killed that leads the stream of events; then the hub that leads loses its connection for good. Nothing is lost and no
// page goes out twice.
func TestPromiseHubCluster(t *testing.T) {
	c, servers := threeServers(t)
	nc := dialAll(t, servers, nil)
	testhost.Eventually(t, "everything has three copies", func() bool {
		_, err := Setup(t.Context(), nc, SetupOptions{MaxBytes: 256 << 20, Replicas: 3})
		if err != nil {
			t.Log(err)
		}
		return err == nil
	})
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	pager := testpager.Start(t)
	var hubs []*running
	for i := range 2 {
		hubs = append(hubs, startHub(t, fmt.Sprint("hub", i), dialAll(t, servers, nil), paging(pager)))
	}
	leads(t, hubs...)

	s := &storm{t: t, nc: nc, hosts: testhost.Amount(4000, 40000)}
	s.publish(s.hosts / 4)
	// What was sent and is not saved as sent goes out again when a hub dies; that is not what this is about.
	testhost.Eventually(t, "a page for each site is saved as delivered, as both hubs show", func() bool {
		for _, h := range hubs {
			groups := pageIncidents{h.Hub}.Groups()
			if len(groups) != 3 || slices.ContainsFunc(groups, func(g fleet.Group) bool { return len(g.Pages) != 1 || g.Pages[0].Status != fleet.PageDelivered }) {
				return false
			}
		}
		return true
	})
	dead := c.leaderOf(js, "KV_"+FleetBucket)
	s.amidst(func() { c.kill(dead) })
	c.start(dead)
	c.healthy(dead)
	c.complete(js)
	leader := c.leaderOf(js, notify.StreamName)
	s.amidst(func() { c.kill(leader) })
	first := leads(t, hubs...)
	s.amidst(first.stopHard)
	second := leads(t, slices.DeleteFunc(slices.Clone(hubs), func(h *running) bool { return h == first })...)
	testhost.Eventually(t, "every incident is known", func() bool {
		n := 0
		for _, g := range (pageIncidents{second.Hub}).Groups() {
			n += g.OpenHosts
		}
		return n == s.hosts
	})
	settled(t, js)
	testhost.Eventually(t, "a page for each site", func() bool { return pager.Count("trigger") >= 3 })
	if r := pager.Repeated(); r != nil || pager.Count("trigger") != 3 {
		t.Errorf("%d pages; repeated: %q", pager.Count("trigger"), r)
	}
	var sites []string
	for _, p := range pager.Pages() {
		sites = append(sites, p.Site)
	}
	slices.Sort(sites)
	if got := slices.Compact(sites); !slices.Equal(got, []string{"site0", "site1", "site2"}) {
		t.Errorf("pages of %q", got)
	}
	testhost.Held(t, "4.12 hubs over a cluster", "%d hosts' incidents while two of three servers were killed, one after the other, and the leading hub cut off: lost 0, pages 3, twice 0", s.hosts)
}

// storm are hosts that open an incident each, at three sites, a quarter of them at a time.
type storm struct {
	t     *testing.T
	nc    *nats.Conn
	hosts int
	begun int // how many have
}

// publish has so many more hosts open an incident, and returns when the stream has it.
func (s *storm) publish(n int) {
	s.t.Helper()
	var events []notify.Outgoing
	for range n {
		events = append(events, began(fmt.Sprint("site", s.begun%3), fmt.Sprint("host", s.begun), 1))
		s.begun++
	}
	publish(s.t, s.nc, events...)
}

// amidst calls f while a quarter of the hosts open their incidents: the first part of them is stored then, the next ones
// are under way, and the last part waits for it. It returns when the stream has them all.
func (s *storm) amidst(f func()) {
	s.t.Helper()
	const parts = 10
	part := s.hosts / 4 / parts
	s.publish(part)
	over, all := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(all)
		for range parts - 2 {
			s.publish(part)
		}
		<-over
		s.publish(part)
	}()
	f()
	close(over)
	<-all
}

// stopHard takes a hub's connection away, as a cut cable does, and never gives it back.
func (r *running) stopHard() { r.o.Conn.Close() }

// TestLeaderCutOff takes the leader's connection away and gives it back when another hub leads. The first does not page
// meanwhile, nor afterwards, and stands by.
func TestLeaderCutOff(t *testing.T) {
	srv, nc, _ := newLab(t)
	pager := testpager.Start(t)
	proxy := newCut(t, srv.URL())
	var first *running
	first = startHub(t, "first", dialAll(t, []string{proxy.url}, &first), paging(pager))
	leads(t, first)
	nc2, _ := connect(t, srv.URL())
	second := startHub(t, "second", nc2, paging(pager))
	publish(t, nc, began("gva", "a", 1))
	testhost.Eventually(t, "the page arrives, and that is saved", func() bool {
		g := pageIncidents{second.Hub}.Groups()
		return pager.Count("trigger") == 1 && len(g) == 1 && len(g[0].Pages) == 1 && g[0].Pages[0].Status == fleet.PageDelivered
	})
	proxy.cut(true)
	publish(t, nc, began("zrh", "b", 1))
	leads(t, second)
	testhost.Eventually(t, "the other page arrives", func() bool { return pager.Count("trigger") == 2 })
	if first.Status().Leading {
		t.Error("two hubs lead")
	}
	publish(t, nc, began("bsl", "c", 1))
	testhost.Eventually(t, "the third page arrives", func() bool { return pager.Count("trigger") == 3 })
	proxy.cut(false)
	testhost.Eventually(t, "the first hub is back, and stands by", func() bool {
		st := first.Status()
		return st.Connected && !st.Leading && st.Leader == "second" && len(pageIncidents{first.Hub}.Groups()) == 3
	})
	publish(t, nc, closed("gva", "a", 1), closed("zrh", "b", 1), closed("bsl", "c", 1))
	testhost.Eventually(t, "the ends arrive", func() bool { return pager.Count("resolve") == 3 })
	if r := pager.Repeated(); r != nil {
		t.Errorf("repeated: %q", r)
	}
}
