package notify_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/hub"
	"github.com/ctwarden/ctwarden/remediate"
)

const patience = 20 * time.Second

var me = notify.Identity{Host: "hv1", Site: "gva", Version: "test"}

// eventually polls until f says nothing is missing any more.
func eventually(t *testing.T, f func() string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		missing := f()
		if missing == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatal(missing)
		}
	}
}

// lab is a NATS server that can be stopped and started again in the same place.
type lab struct {
	t      *testing.T
	opts   server.Options
	ns     *server.Server
	listen string
}

func newLab(t *testing.T, change func(*server.Options)) *lab {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	b := &lab{t: t, listen: l.Addr().String(), opts: server.Options{
		Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
	}}
	if change != nil {
		change(&b.opts)
	}
	t.Cleanup(b.stop)
	return b
}

func (b *lab) url() string { return "nats://" + b.listen }

func (b *lab) start() {
	b.t.Helper()
	opts := b.opts
	ns, err := server.NewServer(&opts)
	if err != nil {
		b.t.Fatal(err)
	}
	ns.Start()
	if !ns.ReadyForConnections(patience) {
		b.t.Fatal("the server did not start")
	}
	b.ns = ns
}

func (b *lab) stop() {
	if b.ns != nil {
		b.ns.Shutdown()
		b.ns.WaitForShutdown()
		b.ns = nil
	}
}

// connect gives a connection with JetStream that lasts as long as the test.
func (b *lab) connect(opts ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	b.t.Helper()
	nc, err := nats.Connect(b.url(), opts...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		b.t.Fatal(err)
	}
	return nc, js
}

func (b *lab) setup(opts ...nats.Option) {
	b.t.Helper()
	nc, _ := b.connect(opts...)
	if _, err := hub.Setup(b.t.Context(), nc, hub.SetupOptions{MaxBytes: 64 << 20}); err != nil {
		b.t.Fatal(err)
	}
	nc.Close()
}

// stored reads the ids in the stream, in order.
func (b *lab) stored(opts ...nats.Option) []string {
	b.t.Helper()
	nc, js := b.connect(opts...)
	defer nc.Close()
	s, err := js.Stream(b.t.Context(), notify.StreamName)
	if err != nil {
		b.t.Fatal(err)
	}
	info := s.CachedInfo().State
	var ids []string
	for seq := info.FirstSeq; seq <= info.LastSeq && info.Msgs > 0; seq++ {
		m, err := s.GetMsg(b.t.Context(), seq)
		if err != nil {
			b.t.Fatal(err)
		}
		ids = append(ids, m.Header.Get(nats.MsgIdHdr))
		if m.Header.Get("Content-Type") != "application/cloudevents+json" {
			b.t.Errorf("content type %q", m.Header.Get("Content-Type"))
		}
	}
	return ids
}

func newStore(t *testing.T) *state.Store {
	t.Helper()
	s, _, err := state.Open(filepath.Join(t.TempDir(), "state.db"), state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// add commits n events, numbered from first.
func add(t *testing.T, s *state.Store, first, n int) {
	t.Helper()
	var c state.Change
	for i := first; i < first+n; i++ {
		c.Events = append(c.Events, numbered(t, i))
	}
	if _, err := s.Commit(c); err != nil {
		t.Fatal(err)
	}
}

func numbered(t *testing.T, i int) notify.Outgoing {
	t.Helper()
	ev, err := notify.Encode(me, remediate.Event{
		ID: fmt.Sprintf("ev-%05d", i), Type: remediate.EventLimitChanged, Time: time.Unix(int64(i), 0),
		Data: remediate.LimitChange{Old: uint64(i), New: 7},
	})
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func wantNumbered(t *testing.T, got []string, n int) {
	t.Helper()
	if len(got) != n {
		t.Errorf("%d events in the stream, want %d", len(got), n)
	}
	for i, id := range got {
		if id != fmt.Sprintf("ev-%05d", i) {
			t.Fatalf("event %d is %s", i, id)
		}
	}
}

// publish runs a publisher until the test ends or stop is called, which checks that it stops in time.
func publish(t *testing.T, q notify.Queue, change func(*notify.Dial), servers ...string) (p *notify.Publisher, stop func()) {
	t.Helper()
	d := notify.Dial{Servers: servers}
	if change != nil {
		change(&d)
	}
	p, err := notify.NewPublisher(notify.PublisherOptions{Dial: d, Identity: me, Queue: q, Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error { return p.Run(ctx) })
	stop = sync.OnceFunc(func() {
		start := time.Now()
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("it took %v to stop", d)
		}
	})
	t.Cleanup(stop)
	return p, stop
}

func drained(t *testing.T, s *state.Store) {
	t.Helper()
	eventually(t, func() string {
		if n := s.Len(); n > 0 {
			return fmt.Sprintf("%d events are still in the outbox", n)
		}
		return ""
	})
}

func wantError(t *testing.T, p *notify.Publisher, words ...string) {
	t.Helper()
	eventually(t, func() string {
		got := p.Status().Error
		for _, w := range words {
			if !strings.Contains(got, w) {
				return fmt.Sprintf("the status says %q, want %q in it", got, w)
			}
		}
		return ""
	})
}

func TestPublishedAndRemoved(t *testing.T) {
	before := runtime.NumGoroutine()
	b := newLab(t, nil)
	b.start()
	b.setup()
	s := newStore(t)
	add(t, s, 0, 600) // more than two windows
	p, stop := publish(t, s, nil, b.url())
	drained(t, s)
	add(t, s, 600, 1)
	p.Wake()
	drained(t, s)
	if got := p.Status(); !got.Configured || !got.Connected || got.Server != b.url() || got.Error != "" || got.Since.IsZero() {
		t.Errorf("got %+v", got)
	}
	stop()
	wantNumbered(t, b.stored(), 601)
	b.stop()
	eventually(t, func() string {
		if n := runtime.NumGoroutine(); n > before+1 {
			return fmt.Sprintf("%d goroutines, %d before", n, before)
		}
		return ""
	})
}

func TestServerAwayAtStart(t *testing.T) {
	b := newLab(t, nil)
	s := newStore(t)
	add(t, s, 0, 5)
	p, _ := publish(t, s, nil, b.url())
	wantError(t, p, "not connected to "+b.url(), "refused")
	if got := p.Status(); got.Connected || got.Since.IsZero() {
		t.Errorf("got %+v", got)
	}
	if err := p.PutState(t.Context(), []byte("{}")); !errors.Is(err, notify.ErrNotConnected) {
		t.Errorf("got %v", err)
	}
	b.start()
	b.setup()
	drained(t, s)
	wantNumbered(t, b.stored(), 5)
	if got := p.Status(); got.Error != "" {
		t.Errorf("got %+v", got)
	}
}

func TestServerRestarts(t *testing.T) {
	b := newLab(t, nil)
	b.start()
	b.setup()
	s := newStore(t)
	p, stop := publish(t, s, nil, b.url())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var (
		followed errgroup.Group
		mu       sync.Mutex
		seen     []string
	)
	followed.Go(func() error {
		return notify.Events(ctx, notify.Dial{Servers: []string{b.url()}}, notify.Filter{Since: time.Hour}, func(raw []byte) error {
			r, err := notify.Decode(raw)
			mu.Lock()
			seen = append(seen, r.Event.ID)
			mu.Unlock()
			return err
		})
	})
	const rounds, each = 3, 700
	for round := range rounds {
		for i := range each {
			add(t, s, round*each+i, 1)
			p.Wake()
			if i == each/2 {
				b.stop()
			}
		}
		b.start()
	}
	drained(t, s)
	eventually(t, func() string {
		mu.Lock()
		defer mu.Unlock()
		if len(seen) < rounds*each {
			return fmt.Sprintf("the follower has %d of %d events", len(seen), rounds*each)
		}
		return ""
	})
	stop()
	cancel()
	if err := followed.Wait(); err != nil {
		t.Error(err)
	}
	wantNumbered(t, b.stored(), rounds*each)
	wantNumbered(t, seen, rounds*each)
}

// forgetful is an outbox whose removals are lost, as by a crash right after the publication.
type forgetful struct{ *state.Store }

func (f forgetful) Ack([]uint64) error { return errors.New("killed here") }

func TestPublishedTwiceStoredOnce(t *testing.T) {
	b := newLab(t, nil)
	b.start()
	b.setup()
	s := newStore(t)
	add(t, s, 0, 10)
	p, stop := publish(t, forgetful{s}, nil, b.url())
	wantError(t, p, "killed here")
	stop()
	if s.Len() != 10 {
		t.Fatalf("%d are left", s.Len())
	}
	b.stop()
	b.start()
	publish(t, s, nil, b.url())
	drained(t, s)
	wantNumbered(t, b.stored(), 10)
}

func TestPermissionDenied(t *testing.T) {
	admin := nats.UserInfo("admin", "a")
	allowed := &server.User{Username: "hv1", Password: "h", Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{"ctwarden.v1.ev.gva.hv2.>"}},
		Subscribe: &server.SubjectPermission{Allow: []string{notify.InboxPrefix("gva", "hv1") + ".>"}},
	}}
	b := newLab(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "admin", Password: "a"}, allowed}
	})
	b.start()
	b.setup(admin)
	s := newStore(t)
	add(t, s, 0, 3)
	url := "nats://hv1:h@" + b.listen
	start := time.Now()
	p, stop := publish(t, s, nil, url)
	wantError(t, p, "permissions", `publish to "ctwarden.v1.ev.gva.hv1.limit.changed"`, "allow it")
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("the reason took %v", d)
	}
	if err := p.PutState(t.Context(), []byte("{}")); err == nil || !strings.Contains(err.Error(), `publish to "$KV.CTWARDEN_HOSTS.gva.hv1"`) {
		t.Errorf("got %v", err)
	}
	if s.Len() != 3 || strings.Contains(p.Status().Server, ":h@") {
		t.Errorf("%d are left; %+v", s.Len(), p.Status())
	}
	stop()
	b.stop()
	// What a host needs, and no more.
	allowed.Permissions.Publish.Allow = []string{"ctwarden.v1.ev.gva.hv1.>", "$KV.CTWARDEN_HOSTS.gva.hv1"}
	b.start()
	p, _ = publish(t, s, nil, url)
	drained(t, s)
	eventually(t, func() string {
		if err := p.PutState(t.Context(), []byte(`{"count":1}`)); err != nil {
			return err.Error()
		}
		return p.Status().Error
	})
	_, js := b.connect(admin)
	kv, err := js.KeyValue(t.Context(), notify.HostsBucket)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := kv.Get(t.Context(), notify.HostKey("gva", "hv1")); err != nil || string(e.Value()) != `{"count":1}` {
		t.Errorf("got %v, %v", e, err)
	}
}

func TestWrongPassword(t *testing.T) {
	b := newLab(t, func(o *server.Options) { o.Username, o.Password = "u", "right" })
	b.start()
	b.setup(nats.UserInfo("u", "right"))
	s := newStore(t)
	add(t, s, 0, 1)
	p, stop := publish(t, s, nil, "nats://u:wrong@"+b.listen)
	wantError(t, p, "not connected", "uthorization")
	if strings.Contains(p.Status().Error, "wrong") {
		t.Errorf("the password shows: %s", p.Status().Error)
	}
	stop()
	b.stop()
	b.opts.Password = "wrong" // the server learns it: the next publisher gets in
	b.start()
	publish(t, s, nil, "nats://u:wrong@"+b.listen)
	drained(t, s)
}

func TestNameThatDoesNotResolve(t *testing.T) {
	s := newStore(t)
	p, _ := publish(t, s, nil, "nats://nats.invalid:4222")
	wantError(t, p, "not connected to nats://nats.invalid:4222")
}

func TestNoStream(t *testing.T) {
	b := newLab(t, nil)
	b.start()
	s := newStore(t)
	add(t, s, 0, 3)
	p, _ := publish(t, s, nil, b.url())
	wantError(t, p, "the stream is missing", "ctwarden-hub init")
	if s.Len() != 3 {
		t.Errorf("%d are left", s.Len())
	}
	err := notify.Events(t.Context(), notify.Dial{Servers: []string{b.url()}}, notify.Filter{}, nil)
	if !errors.Is(err, notify.ErrNoStream) {
		t.Errorf("got %v", err)
	}
	b.setup()
	drained(t, s)
	eventually(t, func() string { return p.Status().Error })
	wantNumbered(t, b.stored(), 3)
}

func TestNoJetStream(t *testing.T) {
	b := newLab(t, func(o *server.Options) { o.JetStream = false })
	b.start()
	s := newStore(t)
	add(t, s, 0, 1)
	p, _ := publish(t, s, nil, b.url())
	wantError(t, p, "JetStream is off")
	if err := notify.Events(t.Context(), notify.Dial{Servers: []string{b.url()}}, notify.Filter{}, nil); !errors.Is(err, notify.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestStreamFull(t *testing.T) {
	b := newLab(t, nil)
	b.start()
	_, js := b.connect()
	cfg := jetstream.StreamConfig{
		Name: notify.StreamName, Subjects: []string{notify.SubjectPrefix + ".>"}, MaxMsgs: 4, Discard: jetstream.DiscardNew,
	}
	if _, err := js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	s := newStore(t)
	add(t, s, 0, 10)
	p, _ := publish(t, s, nil, b.url())
	wantError(t, p, "is full")
	if s.Len() != 6 {
		t.Errorf("%d are left", s.Len())
	}
	cfg.MaxMsgs = 100
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	drained(t, s)
	wantNumbered(t, b.stored(), 10)
}

func TestAnotherStreamTakesTheSubject(t *testing.T) {
	b := newLab(t, nil)
	b.start()
	_, js := b.connect()
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"ctwarden.>"}}); err != nil {
		t.Fatal(err)
	}
	s := newStore(t)
	add(t, s, 0, 1)
	p, _ := publish(t, s, nil, b.url())
	wantError(t, p, "another stream than CTWARDEN")
	if s.Len() != 1 {
		t.Errorf("%d are left", s.Len())
	}
}

func TestTooLargeIsPassedOver(t *testing.T) {
	b := newLab(t, func(o *server.Options) { o.MaxPayload = 1500 })
	b.start()
	b.setup()
	s := newStore(t)
	large, err := notify.Encode(me, remediate.Event{
		ID: "large", Type: remediate.EventLimitChanged, Time: time.Unix(1, 0),
		Data: remediate.LimitChange{By: strings.Repeat("x", 3000)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(state.Change{Events: []notify.Outgoing{large}}); err != nil {
		t.Fatal(err)
	}
	add(t, s, 0, 5)
	p, stop := publish(t, s, nil, b.url())
	eventually(t, func() string {
		if n := s.Len(); n != 1 {
			return fmt.Sprintf("%d are left, want the large one alone", n)
		}
		return ""
	})
	add(t, s, 5, 1)
	p.Wake()
	eventually(t, func() string {
		if n := s.Len(); n != 1 {
			return fmt.Sprintf("%d are left", n)
		}
		return ""
	})
	stop()
	wantNumbered(t, b.stored(), 6)
	b.stop()
	b.opts.MaxPayload = 0 // the default: it fits
	b.start()
	publish(t, s, nil, b.url())
	drained(t, s)
}

// mute is a proxy before the server that can stop passing bytes on, as a network does that has lost its way.
func mute(t *testing.T, to string) (address string, hush chan<- struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	quiet := make(chan struct{}) // closed by the test; never sent on
	done := make(chan struct{})
	var g sync.WaitGroup
	pass := func(from, to net.Conn) {
		defer to.Close()
		buf := make([]byte, 4096)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			select {
			case <-quiet:
				<-done
				return
			default:
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	g.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", to)
			if err != nil {
				c.Close()
				continue
			}
			g.Go(func() { pass(c, up) })
			g.Go(func() { pass(up, c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		close(done)
		g.Wait()
	})
	return l.Addr().String(), quiet
}

func TestServerThatFallsSilent(t *testing.T) {
	b := newLab(t, nil)
	b.start()
	b.setup()
	address, hush := mute(t, b.listen)
	s := newStore(t)
	// The second address is the server itself; which is tried first is up to the library.
	p, _ := publish(t, s, nil, "nats://"+address)
	add(t, s, 0, 1)
	p.Wake()
	drained(t, s)
	close(hush)
	add(t, s, 1, 500)
	start := time.Now()
	p.Wake()
	eventually(t, func() string {
		if p.Status().Error == "" {
			return "nothing is said of the silence"
		}
		return ""
	})
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("it took %v to notice", d)
	}
	if s.Len() != 500 {
		t.Errorf("%d are left", s.Len())
	}
	// Stopping in time while the server is silent is checked by publish's cleanup.
}

func TestFollowFilters(t *testing.T) {
	b := newLab(t, nil)
	b.start()
	b.setup()
	s := newStore(t)
	var c state.Change
	for i, id := range []notify.Identity{{Host: "hv1", Site: "gva"}, {Host: "hv2", Site: "gva"}, {Host: "hv1", Site: "zrh"}} {
		for _, typ := range []remediate.EventType{remediate.EventStepApplied, remediate.EventStepRefused, remediate.EventLimitChanged} {
			ev := remediate.Event{ID: fmt.Sprint(i, typ), Type: typ, Time: time.Now(), Data: remediate.Step{}}
			if typ == remediate.EventLimitChanged {
				ev.Data = remediate.LimitChange{}
			}
			out, err := notify.Encode(id, ev)
			if err != nil {
				t.Fatal(err)
			}
			c.Events = append(c.Events, out)
		}
	}
	if _, err := s.Commit(c); err != nil {
		t.Fatal(err)
	}
	publish(t, s, nil, b.url())
	drained(t, s)
	for _, tc := range []struct {
		filter notify.Filter
		want   int
	}{
		{notify.Filter{}, 9}, {notify.Filter{Site: "gva"}, 6}, {notify.Filter{Host: "hv1"}, 6}, {notify.Filter{Type: "step"}, 6},
		{notify.Filter{Type: "step.applied"}, 3}, {notify.Filter{Site: "zrh", Host: "hv1", Type: "limit.changed"}, 1},
	} {
		tc.filter.Since = time.Hour
		done := errors.New("done")
		n := 0
		err := notify.Events(t.Context(), notify.Dial{Servers: []string{b.url()}}, tc.filter, func([]byte) error {
			if n++; n == tc.want {
				return done
			}
			return nil
		})
		if !errors.Is(err, done) {
			t.Errorf("%+v: %d events, %v", tc.filter, n, err)
		}
	}
	for _, bad := range []notify.Filter{{Site: "a.b"}, {Site: ">"}, {Type: "step.>"}, {Type: "step."}, {Type: "*"}} {
		if err := notify.Events(t.Context(), notify.Dial{Servers: []string{b.url()}}, bad, nil); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestDialChecks(t *testing.T) {
	dir := t.TempDir()
	open, private := filepath.Join(dir, "open.creds"), filepath.Join(dir, "private.creds")
	for path, mode := range map[string]os.FileMode{open: 0o644, private: 0o640} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	good := []string{"nats://a:4222", "b:4222", "c", "tls://u:p@[::1]:4222", "wss://d"}
	for _, c := range []struct {
		name string
		dial notify.Dial
		want string
	}{
		{"all well", notify.Dial{Servers: good, Credentials: private}, ""},
		{"no server", notify.Dial{}, "nats.servers is empty"},
		{"scheme", notify.Dial{Servers: []string{"http://u:hunter2@a"}}, `scheme "http"`},
		{"no host", notify.Dial{Servers: []string{"nats://"}}, "no host"},
		{"unreadable", notify.Dial{Servers: []string{"nats://u:hunter2@a:%"}}, "cannot be read"},
		{"open secret", notify.Dial{Servers: good, Credentials: open}, "chmod 0600"},
		{"no secret", notify.Dial{Servers: good, Credentials: "/nonexistent"}, "no such file"},
		{"a folder", notify.Dial{Servers: good, Credentials: dir}, "not a regular file"},
		{"open key", notify.Dial{Servers: good, TLS: notify.TLS{Cert: private, Key: open}}, "nats.tls.key"},
		{"cert alone", notify.Dial{Servers: good, TLS: notify.TLS{Cert: private}}, "go together"},
		{"no ca", notify.Dial{Servers: good, TLS: notify.TLS{CA: "/nonexistent"}}, "nats.tls.ca"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.dial.Check()
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %q and no password", err, c.want)
			}
		})
	}
}
