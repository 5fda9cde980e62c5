package notify_test

import (
	"context"
	"fmt"
	"path/filepath"
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
	"github.com/ctwarden/ctwarden/internal/testhost"
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
	port := testhost.Port(t)
	b := &lab{t: t, listen: fmt.Sprintf("127.0.0.1:%d", port), opts: server.Options{
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
	return p, start(t, p)
}

// start runs a publisher until stop, or the end of the test.
func start(t *testing.T, p *notify.Publisher) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error { return p.Run(ctx) })
	stop = sync.OnceFunc(func() {
		start := time.Now()
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		// Four seconds by design; the machines that run tests are slow at times.
		if d := time.Since(start); d > patience {
			t.Errorf("it took %v to stop", d)
		}
	})
	t.Cleanup(stop)
	return stop
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
