package notify_test

import (
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/hub"
)

// TestPromiseCluster has three servers with three copies of the stream. The leader steps down, and dies.
func TestPromiseCluster(t *testing.T) {
	if !testhost.Long() {
		t.Skip("elections take their time; in the long form only")
	}
	labs := cluster(t, 3)
	var servers []string
	for _, b := range labs {
		servers = append(servers, b.url())
	}
	nc, err := nats.Connect(servers[0], func(o *nats.Options) error { o.Servers = servers; return nil }, nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	testhost.Eventually(t, "the stream has three copies", func() bool {
		_, err := hub.Setup(t.Context(), nc, hub.SetupOptions{MaxBytes: 64 << 20, Replicas: 3})
		return err == nil
	})
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s := newStore(t)
	p, _ := publish(t, s, nil, servers...)
	const rounds, each = 6, 500
	for round := range rounds {
		for i := range 20 {
			add(t, s, round*each+i*each/20, each/20)
			p.Wake()
			if i == 5 {
				unseat(t, nc, labs, leader(t, js), round == rounds-1)
			}
		}
		drained(t, s)
	}
	eventually(t, func() string { return p.Status().Error })
	var ids []string
	testhost.Eventually(t, "the stream can be read", func() bool {
		stream, err := js.Stream(t.Context(), notify.StreamName)
		if err != nil {
			return false
		}
		ids = nil
		info := stream.CachedInfo().State
		for seq := info.FirstSeq; seq <= info.LastSeq; seq++ {
			m, err := stream.GetMsg(t.Context(), seq)
			if err != nil {
				return false
			}
			ids = append(ids, m.Header.Get(nats.MsgIdHdr))
		}
		return true
	})
	slices.Sort(ids) // an election may cost one event and not the next, which is then sent first
	wantNumbered(t, ids, rounds*each)
	testhost.Held(t, "4.10 change of the leader", "%d changes and a death of the leader of three servers; %d events, lost 0, twice 0", rounds-1, rounds*each)
}

// unseat has the leader step down, or stops it.
func unseat(t *testing.T, nc *nats.Conn, labs []*lab, leader string, kill bool) {
	t.Helper()
	if !kill {
		if _, err := nc.Request("$JS.API.STREAM.LEADER.STEPDOWN."+notify.StreamName, nil, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, b := range labs {
		if b.opts.ServerName == leader {
			b.stop()
		}
	}
}

// leader waits until the stream has one, and names it.
func leader(t *testing.T, js jetstream.JetStream) string {
	t.Helper()
	var name string
	testhost.Eventually(t, "the stream has a leader", func() bool {
		stream, err := js.Stream(t.Context(), notify.StreamName)
		if err == nil && stream.CachedInfo().Cluster != nil {
			name = stream.CachedInfo().Cluster.Leader
		}
		return name != ""
	})
	return name
}

func cluster(t *testing.T, n int) []*lab {
	t.Helper()
	var routes []*url.URL
	var ports []int
	for range n {
		ports = append(ports, testhost.Port(t))
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", ports[len(ports)-1])})
	}
	var labs []*lab
	for i := range n {
		b := newLab(t, func(o *server.Options) {
			o.ServerName, o.Routes = fmt.Sprint("n", i), routes
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i]}
		})
		opts := b.opts
		ns, err := server.NewServer(&opts)
		if err != nil {
			t.Fatal(err)
		}
		ns.Start() // it is ready when the others are there
		b.ns = ns
		labs = append(labs, b)
	}
	for _, b := range labs {
		if !b.ns.ReadyForConnections(patience) {
			t.Fatal("the server did not start")
		}
	}
	return labs
}
