package notify_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

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
	p.Wake()
	eventually(t, func() string {
		if p.Status().Error == "" {
			return "nothing is said of the silence"
		}
		return ""
	})
	if s.Len() != 500 {
		t.Errorf("%d are left", s.Len())
	}
	// Stopping in time while the server is silent is checked by publish's cleanup.
}
