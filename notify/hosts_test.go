package notify_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ctwarden/ctwarden/notify"
)

// TestHostsOwnCredentialsMayNotReadTheFleet: the denial is told at once, with what to do.
func TestHostsOwnCredentialsMayNotReadTheFleet(t *testing.T) {
	b := newLab(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "admin", Password: "admin"}, {Username: "hv1", Password: "hv1", Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: []string{notify.HostStateSubject("gva", "hv1")}},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
		}}}
	})
	b.start()
	b.setup(nats.UserInfo("admin", "admin"))
	url := "nats://hv1:hv1@" + b.listen
	err := notify.Hosts(t.Context(), notify.Dial{Servers: []string{url}}, "", func(notify.HostState) error { return nil })
	if !errors.Is(err, notify.ErrUnavailable) || !strings.Contains(err.Error(), "--credentials") || strings.Contains(err.Error(), "hv1:hv1") {
		t.Errorf("%v", err)
	}
	err = notify.Hosts(t.Context(), notify.Dial{Servers: []string{url}}, "g v a", nil)
	if err == nil || !strings.Contains(err.Error(), "site") {
		t.Errorf("%v", err)
	}
}

// TestHostsWithoutTheBucket says what to do, and an error of the caller's is the caller's.
func TestHostsWithoutTheBucket(t *testing.T) {
	b := newLab(t, nil)
	b.start()
	dial := notify.Dial{Servers: []string{b.url()}}
	if err := notify.Hosts(t.Context(), dial, "", nil); !errors.Is(err, notify.ErrNoBucket) {
		t.Errorf("%v", err)
	}
	b.setup()
	_, js := b.connect()
	if _, err := js.Publish(t.Context(), notify.HostStateSubject("gva", "hv1"), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	if err := notify.Hosts(t.Context(), dial, "gva", func(notify.HostState) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("%v", err)
	}
}

// TestHostsOfALargeFleet reads more states than are on their way at a time, of the usual size.
func TestHostsOfALargeFleet(t *testing.T) {
	b := newLab(t, nil)
	b.start()
	b.setup()
	_, js := b.connect()
	const hosts = 10_000
	body := []byte(strings.Repeat("x", 3000))
	for i := range hosts {
		if _, err := js.PublishAsync(notify.HostStateSubject("gva", fmt.Sprint("hv", i)), body, jetstream.WithStallWait(patience)); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	seen := 0
	err := notify.Hosts(t.Context(), notify.Dial{Servers: []string{b.url()}}, "", func(h notify.HostState) error {
		seen++
		if len(h.Body) != len(body) || h.At.IsZero() {
			t.Errorf("%d bytes at %v", len(h.Body), h.At)
		}
		return nil
	})
	if err != nil || seen != hosts {
		t.Fatalf("%d of %d hosts, %v", seen, hosts, err)
	}
}
