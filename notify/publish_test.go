package notify_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/notify"
)

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
	p, stop := publish(t, s, nil, url)
	wantError(t, p, "permissions", `publish to "ctwarden.v1.ev.gva.hv1.limit.changed"`, "allow it")
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
	p, stop := publish(t, s, nil, "nats://u:hunter2@"+b.listen)
	wantError(t, p, "not connected", "uthorization")
	if strings.Contains(p.Status().Error, "hunter2") {
		t.Errorf("the password shows: %s", p.Status().Error)
	}
	stop()
	b.stop()
	b.opts.Password = "hunter2" // the server learns it: the next publisher gets in
	b.start()
	publish(t, s, nil, "nats://u:hunter2@"+b.listen)
	drained(t, s)
}

func TestNameThatDoesNotResolve(t *testing.T) {
	s := newStore(t)
	p, _ := publish(t, s, nil, "nats://nats.invalid:4222")
	wantError(t, p, "not connected to nats://nats.invalid:4222")
}
