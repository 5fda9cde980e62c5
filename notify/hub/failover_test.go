package hub

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testpager"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/fleet"
)

// cluster are three servers; each can be stopped and started again.
type cluster struct {
	t    *testing.T
	opts []server.Options
	all  []*server.Server
}

func (c *cluster) start(i int) {
	c.t.Helper()
	o := c.opts[i]
	ns, err := server.NewServer(&o)
	if err != nil {
		c.t.Fatal(err)
	}
	ns.Start()
	c.t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	c.all[i] = ns
}

// stop ends a server and returns which it was.
func (c *cluster) stop(i int) int {
	c.all[i].Shutdown()
	c.all[i].WaitForShutdown()
	return i
}

// healthy waits until a server has caught up with the others.
func (c *cluster) healthy(i int) {
	c.t.Helper()
	testhost.Eventually(c.t, "the server has caught up", func() bool {
		h := c.all[i].Healthz(nil)
		return h.StatusCode == http.StatusOK
	})
}

func threeServers(t *testing.T) (c *cluster, servers []string) {
	t.Helper()
	c = &cluster{t: t, all: make([]*server.Server, 3)}
	var routes []*url.URL
	var ports []int
	for range 3 {
		ports = append(ports, testhost.Port(t))
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", ports[len(ports)-1])})
	}
	for i, port := range ports {
		listen := testhost.Port(t)
		servers = append(servers, fmt.Sprintf("nats://127.0.0.1:%d", listen))
		c.opts = append(c.opts, server.Options{
			ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: listen, NoLog: true, NoSigs: true, JetStream: true,
			StoreDir: t.TempDir(), Routes: routes, Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port},
		})
		c.start(i)
	}
	for _, ns := range c.all {
		if !ns.ReadyForConnections(30 * time.Second) {
			t.Fatal("not ready")
		}
	}
	return c, servers
}

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

// TestPromiseHubCluster has three servers with three copies of everything, and two hubs. During a storm of incidents the
// server dies that leads the hubs' bucket; it comes back, and the server dies that leads the stream of events; then the hub
// that leads, by losing its connection for good. Nothing is lost and no page goes out twice.
func TestPromiseHubCluster(t *testing.T) {
	c, servers := threeServers(t)
	nc := dialAll(t, servers, nil)
	testhost.Eventually(t, "the servers are a cluster", func() bool {
		return slices.ContainsFunc(c.all, func(ns *server.Server) bool { return ns.JetStreamIsLeader() && len(ns.JetStreamClusterPeers()) == 3 })
	})
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

	hosts := testhost.Amount(4000, 40000)
	part := hosts / 4
	var sites []string
	storm := func(from, to int) {
		var events []notify.Outgoing
		for i := from; i < to; i++ {
			events = append(events, began(fmt.Sprint("site", i%3), fmt.Sprint("host", i), 1))
		}
		publish(t, nc, events...)
	}
	storm(0, part)
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
	dead := c.stop(c.leaderOf(js, "KV_"+FleetBucket))
	storm(part, 2*part)
	c.start(dead)
	c.healthy(dead)
	c.complete(js)
	c.stop(c.leaderOf(js, notify.StreamName))
	storm(2*part, 3*part)
	first := leads(t, hubs...)
	first.stopHard()
	storm(3*part, hosts)
	second := leads(t, slices.DeleteFunc(slices.Clone(hubs), func(h *running) bool { return h == first })...)
	testhost.Eventually(t, "every incident is known", func() bool {
		n := 0
		for _, g := range (pageIncidents{second.Hub}).Groups() {
			n += g.OpenHosts
		}
		return n == hosts
	})
	testhost.Eventually(t, "every event is acknowledged", func() bool {
		c, err := js.Consumer(t.Context(), notify.StreamName, Consumer)
		return err == nil && c.CachedInfo().NumPending == 0 && c.CachedInfo().NumAckPending == 0
	})
	testhost.Eventually(t, "a page for each site", func() bool { return pager.Count("trigger") >= 3 })
	if r := pager.Repeated(); r != nil || pager.Count("trigger") != 3 {
		t.Errorf("%d pages; repeated: %q", pager.Count("trigger"), r)
	}
	for _, p := range pager.Pages() {
		sites = append(sites, p.Site)
	}
	slices.Sort(sites)
	if got := slices.Compact(sites); !slices.Equal(got, []string{"site0", "site1", "site2"}) {
		t.Errorf("pages of %q", got)
	}
	testhost.Held(t, "4.12 hubs over a cluster", "%d hosts' incidents over the death of two of three servers, one after the other, and of the leading hub: lost 0, pages 3, twice 0", hosts)
}

// stopHard takes a hub's connection away, as a cut cable does, and never gives it back.
func (r *running) stopHard() { r.o.Conn.Close() }

// complete waits until each stream has its copies, all of them current: only then may another server die.
func (c *cluster) complete(js jetstream.JetStream) {
	c.t.Helper()
	for _, name := range []string{notify.StreamName, "KV_" + notify.HostsBucket, "KV_" + FleetBucket, notify.CommandsStream} {
		testhost.Eventually(c.t, name+" has its copies", func() bool {
			s, err := js.Stream(c.t.Context(), name)
			if err != nil || s.CachedInfo().Cluster == nil || s.CachedInfo().Cluster.Leader == "" {
				return false
			}
			peers := s.CachedInfo().Cluster.Replicas
			return len(peers) == 2 && !slices.ContainsFunc(peers, func(p *jetstream.PeerInfo) bool { return p.Offline || !p.Current })
		})
	}
}

// leaderOf is the server that leads a stream.
func (c *cluster) leaderOf(js jetstream.JetStream, stream string) int {
	c.t.Helper()
	n := -1
	testhost.Eventually(c.t, stream+" has a leader", func() bool {
		s, err := js.Stream(c.t.Context(), stream)
		if err == nil && s.CachedInfo().Cluster != nil {
			n = slices.IndexFunc(c.all, func(ns *server.Server) bool { return ns.Name() == s.CachedInfo().Cluster.Leader })
		}
		return n >= 0
	})
	return n
}

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
