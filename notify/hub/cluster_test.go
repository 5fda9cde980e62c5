package hub

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
)

// cluster are three NATS servers, each a process of its own; each can be killed and started again.
type cluster struct {
	t   *testing.T
	all []*member
}

// member is one of the servers.
type member struct {
	testhost.Program
	name, health string
	args         []string
	log          bytes.Buffer // of the last process; to be read when that has ended
}

func threeServers(t *testing.T) (c *cluster, servers []string) {
	t.Helper()
	c = &cluster{t: t}
	program := testhost.NATSServer(t)
	var routes []string
	for range 3 {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", testhost.Port(t)))
	}
	for i, route := range routes {
		port, monitor := testhost.Port(t), testhost.Port(t)
		servers = append(servers, fmt.Sprintf("nats://127.0.0.1:%d", port))
		c.all = append(c.all, &member{
			name: fmt.Sprint("n", i), health: fmt.Sprintf("http://127.0.0.1:%d/healthz", monitor),
			args: []string{program, "-n", fmt.Sprint("n", i), "-a", "127.0.0.1", "-p", fmt.Sprint(port), "-m", fmt.Sprint(monitor), "-js",
				"-sd", t.TempDir(), "--cluster_name", "test", "--cluster", route, "--routes", strings.Join(routes, ",")},
		})
		t.Cleanup(func() {
			if c.all[i].Kill(); t.Failed() {
				t.Logf("n%d: %s", i, &c.all[i].log)
			}
		})
	}
	for i := range c.all {
		c.start(i)
	}
	for i := range c.all {
		c.healthy(i)
	}
	return c, servers
}

// start starts a server, again after kill.
func (c *cluster) start(i int) {
	c.t.Helper()
	m := c.all[i]
	m.log.Reset()
	var err error
	if m.Program, err = testhost.Launch(&m.log, &m.log, m.args[0], m.args[1:]...); err != nil {
		c.t.Fatal(err)
	}
}

// kill ends a server by SIGKILL.
func (c *cluster) kill(i int) { c.all[i].Kill() }

// healthy waits until a server has caught up with the others.
func (c *cluster) healthy(i int) {
	c.t.Helper()
	testhost.Eventually(c.t, "the server has caught up", func() bool {
		resp, err := http.Get(c.all[i].health)
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
}

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
			n = slices.IndexFunc(c.all, func(m *member) bool { return m.name == s.CachedInfo().Cluster.Leader })
		}
		return n >= 0
	})
	return n
}
