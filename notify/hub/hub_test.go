package hub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

func startServer(t *testing.T, listen, store string) *Server {
	t.Helper()
	s, err := StartServer(ServerOptions{Listen: listen, Store: store, Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func connect(t *testing.T, url string, opts ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(url, append(opts, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

func TestSetupMakesWhatTheContractSays(t *testing.T) {
	srv := startServer(t, "127.0.0.1:0", t.TempDir())
	nc, js := connect(t, srv.URL())
	changes, err := Setup(t.Context(), nc, SetupOptions{MaxBytes: 8 << 20})
	if err != nil || len(changes) != 5 {
		t.Fatalf("got %q, %v", changes, err)
	}
	s, err := js.Stream(t.Context(), "CTWARDEN")
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	if !slices.Equal(c.Subjects, []string{"ctwarden.v1.ev.>"}) || c.Retention != jetstream.LimitsPolicy ||
		c.Storage != jetstream.FileStorage || c.MaxAge != 720*time.Hour || c.MaxBytes != 8<<20 ||
		c.Duplicates != 2*time.Hour || c.Replicas != 1 {
		t.Errorf("got %+v", c)
	}
	// To the library it is a key-value bucket like any other.
	kv, err := js.KeyValue(t.Context(), "CTWARDEN_HOSTS")
	if err != nil {
		t.Fatal(err)
	}
	if st, err := kv.Status(t.Context()); err != nil || st.TTL() != HostTTL || st.History() != 1 {
		t.Errorf("got %+v, %v", st, err)
	}
	if _, err := kv.PutString(t.Context(), "gva.a", "{}"); err != nil {
		t.Error(err)
	}
	if e, err := kv.Get(t.Context(), "gva.a"); err != nil || string(e.Value()) != "{}" {
		t.Errorf("as the library reads one: %v, %v", e, err)
	}
	if changes, err := Setup(t.Context(), nc, SetupOptions{MaxBytes: 8 << 20}); err != nil || len(changes) != 0 {
		t.Errorf("the second time: %q, %v", changes, err)
	}
	changes, err = Setup(t.Context(), nc, SetupOptions{MaxBytes: 16 << 20})
	if err != nil || !slices.Equal(changes, []string{"changed stream CTWARDEN: max bytes 8388608 → 16777216"}) {
		t.Errorf("with another limit: %q, %v", changes, err)
	}
}

func TestSetupMendsAndLeavesTheRest(t *testing.T) {
	srv := startServer(t, "127.0.0.1:0", t.TempDir())
	nc, js := connect(t, srv.URL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "CTWARDEN", Subjects: []string{"ctwarden.>"}, MaxMsgSize: 4096, Compression: jetstream.S2Compression,
	}); err != nil {
		t.Fatal(err)
	}
	changes, err := Setup(t.Context(), nc, SetupOptions{MaxBytes: 8 << 20})
	if err != nil || len(changes) != 5 || !strings.Contains(changes[0], "subjects [ctwarden.>] → [ctwarden.v1.ev.>], max age 0s → 720h0m0s") {
		t.Fatalf("got %q, %v", changes, err)
	}
	s, err := js.Stream(t.Context(), "CTWARDEN")
	if err != nil || s.CachedInfo().Config.MaxMsgSize != 4096 || s.CachedInfo().Config.Compression != jetstream.S2Compression {
		t.Errorf("got %+v, %v", s.CachedInfo().Config, err)
	}
	if changes, err := Setup(t.Context(), nc, SetupOptions{MaxBytes: 8 << 20}); err != nil || len(changes) != 0 {
		t.Errorf("the second time: %q, %v", changes, err)
	}
}

func TestSetupWithoutJetStreamOrPermission(t *testing.T) {
	plain := rawServer(t, &server.Options{})
	guarded := rawServer(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), Users: []*server.User{{
		Username: "u", Password: "p", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{"x"}}},
	}}})
	for _, c := range []struct {
		name, url, want string
		opts            []nats.Option
	}{
		{"no JetStream", plain, "JetStream", nil},
		{"no permission", guarded, "permission", []nats.Option{nats.UserInfo("u", "p")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			nc, _ := connect(t, c.url, c.opts...)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := Setup(ctx, nc, SetupOptions{MaxBytes: 1 << 20})
			if !errors.Is(err, notify.ErrUnavailable) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
			r := Receiver{Conn: nc, Log: zaptest.NewLogger(t)}
			if err := r.Run(ctx); c.opts == nil && !errors.Is(err, notify.ErrUnavailable) {
				t.Errorf("receiver: got %v", err)
			}
		})
	}
	nc, _ := connect(t, plain)
	if _, err := Setup(t.Context(), nc, SetupOptions{}); err == nil || !strings.Contains(err.Error(), "byte limit") {
		t.Errorf("got %v", err)
	}
}

// rawServer starts a server as an operator would set one up.
func rawServer(t *testing.T, o *server.Options) string {
	t.Helper()
	o.Host, o.Port, o.NoLog, o.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	ns, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	if !ns.ReadyForConnections(10 * time.Second) {
		t.Fatal("not ready")
	}
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	return ns.ClientURL()
}

func TestReplicasFollowTheCluster(t *testing.T) {
	var routes []string
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		routes = append(routes, "nats://"+l.Addr().String())
	}
	var url string
	var all []*server.Server
	for i, r := range routes {
		_, port, _ := net.SplitHostPort(strings.TrimPrefix(r, "nats://"))
		o := &server.Options{
			ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
			JetStream: true, StoreDir: t.TempDir(), Routes: server.RoutesFromStr(strings.Join(routes, ",")),
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1"},
		}
		fmt.Sscan(port, &o.Cluster.Port)
		ns, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		ns.Start()
		t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
		all = append(all, ns)
	}
	for _, ns := range all {
		if !ns.ReadyForConnections(10 * time.Second) {
			t.Fatal("not ready")
		}
		url = ns.ClientURL()
	}
	nc, js := connect(t, url)
	deadline, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	ready := func(ns *server.Server) bool { return ns.JetStreamIsLeader() && len(ns.JetStreamClusterPeers()) == 3 }
	for !slices.ContainsFunc(all, ready) {
		select {
		case <-tick.C:
		case <-deadline.Done():
			t.Fatal("no cluster")
		}
	}
	if _, err := Setup(deadline, nc, SetupOptions{MaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"CTWARDEN", "KV_CTWARDEN_HOSTS"} {
		if s, err := js.Stream(deadline, name); err != nil || s.CachedInfo().Config.Replicas != 3 {
			t.Errorf("%s: %+v, %v", name, s.CachedInfo().Config, err)
		}
	}
}

func TestServerThatCannotStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := t.TempDir()
	for _, c := range []struct{ name, listen, store, want string }{
		{"port taken", taken.Addr().String(), good, "in use; stop what listens there or choose another"},
		{"store below a file", "127.0.0.1:0", filepath.Join(file, "s"), "not a directory"},
		{"store is /proc", "127.0.0.1:0", "/proc", "store"},
		{"no store", "127.0.0.1:0", "", "no folder given"},
		{"no port", "127.0.0.1", good, "write host:port"},
		{"a bad port", "127.0.0.1:99999", good, "not host:port"},
		{"no host", ":4222", good, "not host:port"},
		{"another's address", "192.0.2.1:4222", good, "cannot assign"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := StartServer(ServerOptions{Listen: c.listen, Store: c.store, Log: zaptest.NewLogger(t)})
			if !errors.Is(err, ErrServer) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if s != nil {
				s.Close()
			}
		})
	}
}

// inbox collects what a receiver hands over.
type inbox struct {
	mu  sync.Mutex
	ids []string
}

func (b *inbox) take(batch Batch) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range batch.Events {
		b.ids = append(b.ids, d.Event.ID)
	}
	batch.Ack()
	return nil
}

func (b *inbox) wait(t *testing.T, n int) []string {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); ; <-tick.C {
		b.mu.Lock()
		ids := slices.Clone(b.ids)
		b.mu.Unlock()
		if len(ids) >= n {
			return ids
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d events came", len(ids), n)
		}
	}
}

func send(t *testing.T, js jetstream.JetStream, id, msgID string) {
	t.Helper()
	sendAs(t, js, "h", id, msgID)
}

// sendAs sends an event in which the given host says that it is its own, on the subject of host h.
func sendAs(t *testing.T, js jetstream.JetStream, host, id, msgID string) {
	t.Helper()
	ev, err := notify.Encode(notify.Identity{Host: host, Site: "s"}, remediate.Event{
		ID: id, Type: remediate.EventLimitChanged, Time: time.Unix(1, 0), Data: remediate.LimitChange{},
	})
	if err != nil {
		t.Fatal(err)
	}
	subject := notify.Subject("s", "h", remediate.EventLimitChanged)
	if _, err := js.Publish(t.Context(), subject, ev.Body, jetstream.WithMsgID(msgID)); err != nil {
		t.Fatal(err)
	}
}

func TestReceiverOutlastsAServer(t *testing.T) {
	store, listen := t.TempDir(), ""
	srv := startServer(t, "127.0.0.1:0", store)
	listen = strings.TrimPrefix(srv.URL(), "nats://")
	nc, js := connect(t, srv.URL())
	if _, err := Setup(t.Context(), nc, SetupOptions{MaxBytes: 8 << 20}); err != nil {
		t.Fatal(err)
	}
	send(t, js, "a", "1")
	if _, err := js.Publish(t.Context(), "ctwarden.v1.ev.s.h.x.y", []byte("no event")); err != nil {
		t.Fatal(err)
	}
	sendAs(t, js, "other", "forged", "2")
	send(t, js, "b", "3")
	var (
		box inbox
		g   errgroup.Group
	)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := Receiver{Conn: nc, Log: zaptest.NewLogger(t), Take: box.take}
	g.Go(func() error { return r.Run(ctx) })
	box.wait(t, 2)
	srv.Close()
	startServer(t, listen, store)
	_, js = connect(t, "nats://"+listen)
	send(t, js, "c", "4")
	if got := box.wait(t, 3); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("got %q", got)
	}
	cancel()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	// Everything was acknowledged: the next hub begins with what is new. A hub that ends hangs up; else the server could
	// still hand an event to the request that it left open.
	nc.Close()
	send(t, js, "d", "5")
	nc2, _ := connect(t, "nats://"+listen)
	var box2 inbox
	ctx2, cancel2 := context.WithCancel(t.Context())
	defer cancel2()
	r2 := Receiver{Conn: nc2, Log: zaptest.NewLogger(t), Take: box2.take}
	g.Go(func() error { return r2.Run(ctx2) })
	if got := box2.wait(t, 1); !slices.Equal(got, []string{"d"}) {
		t.Errorf("the next hub got %q", got)
	}
	cancel2()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func TestReceiverKeepsWhatWasNotHandled(t *testing.T) {
	srv := startServer(t, "127.0.0.1:0", t.TempDir())
	nc, js := connect(t, srv.URL())
	if err := (&Receiver{Conn: nc, Log: zaptest.NewLogger(t)}).Run(t.Context()); !errors.Is(err, notify.ErrNoStream) {
		t.Errorf("without a stream: got %v", err)
	}
	if _, err := Setup(t.Context(), nc, SetupOptions{MaxBytes: 8 << 20}); err != nil {
		t.Fatal(err)
	}
	send(t, js, "a", "1")
	broken := errors.New("broken pipe")
	r := Receiver{Conn: nc, Log: zaptest.NewLogger(t), Take: func(Batch) error { return broken }}
	if err := r.Run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	c, err := js.Consumer(t.Context(), notify.StreamName, Consumer)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := c.Info(t.Context()); err != nil || info.NumAckPending != 1 || info.AckFloor.Stream != 0 {
		t.Errorf("got %+v, %v", info, err)
	}
	if err := js.DeleteConsumer(t.Context(), notify.StreamName, Consumer); err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context()); !errors.Is(err, notify.ErrUnavailable) || !strings.Contains(err.Error(), "ctwarden-hub init") {
		t.Errorf("without a consumer: got %v", err)
	}
}

// TestReceiverGivesBack has a hub end with events that it did not save: the next one has them at once.
func TestReceiverGivesBack(t *testing.T) {
	_, nc, js := newLab(t)
	const events = 1000
	for i := range events {
		send(t, js, fmt.Sprint(i), fmt.Sprint(i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := Receiver{Conn: nc, Log: zaptest.NewLogger(t), Take: func(b Batch) error {
		cancel()
		b.Return()
		return nil
	}}
	if err := first.Run(ctx); err != nil {
		t.Fatal(err)
	}
	var box inbox
	ctx2, cancel2 := context.WithCancel(t.Context())
	var g errgroup.Group
	began := time.Now()
	g.Go(func() error { return (&Receiver{Conn: nc, Log: zaptest.NewLogger(t), Take: box.take}).Run(ctx2) })
	ids := box.wait(t, events)
	if took := time.Since(began); took > ackWait {
		t.Errorf("after %v: that long a dead hub's events wait", took)
	}
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != events {
		t.Errorf("%d of %d events", n, events)
	}
	cancel2()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func TestRecentForgetsTheOldest(t *testing.T) {
	r := newRecent(2)
	for _, id := range []string{"a", "b", "c"} {
		r.add(id)
	}
	if r.has("a") || !r.has("b") || !r.has("c") || len(r.set) != 2 {
		t.Errorf("got %v", r.set)
	}
}
