package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testpager"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

// quiet logs to the test as long as that runs.
func quiet(t *testing.T) *zap.Logger {
	return zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))
}

func contains(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }

// running is a hub in this process.
type running struct {
	*Hub
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error // has room for the one error of Run
	over   bool
}

// startHub runs a hub until the end of the test, or until stop.
func startHub(t *testing.T, name string, nc *nats.Conn, s Settings) *running {
	t.Helper()
	return startHubWith(t, Options{Conn: nc, Name: name, Version: "test", Settings: s})
}

func startHubWith(t *testing.T, o Options) *running {
	t.Helper()
	if o.Log == nil {
		o.Log = quiet(t)
	}
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Hub: h, t: t, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- h.Run(ctx) }()
	t.Cleanup(r.stop)
	return r
}

func (r *running) stop() {
	r.t.Helper()
	if r.over {
		return
	}
	r.over = true
	r.cancel()
	if err := <-r.ended; err != nil {
		r.t.Errorf("hub %s: %v", r.o.Name, err)
	}
}

// leads waits until one of the hubs leads, and returns it.
func leads(t *testing.T, hubs ...*running) *running {
	t.Helper()
	var leader *running
	testhost.Eventually(t, "a hub leads", func() bool {
		for _, h := range hubs {
			if h.Status().Leading {
				leader = h
			}
		}
		return leader != nil
	})
	return leader
}

// paging are settings with the pager as the only sender. Groups wait a second for more hosts.
func paging(p *testpager.Pager) Settings {
	return Settings{
		Fleet: fleet.Config{GroupBy: []string{fleet.GroupBySite}, GroupWait: time.Second, Senders: []string{"pager"}},
		Senders: []oncall.Config{{
			Name: "pager", Webhook: &oncall.WebhookConfig{URL: p.URL, Secret: p.SecretFile},
		}},
	}
}

// lab is a server with all that Setup makes.
func newLab(t *testing.T) (*Server, *nats.Conn, jetstream.JetStream) {
	t.Helper()
	srv := startServer(t, "127.0.0.1:0", t.TempDir())
	nc, js := connect(t, srv.URL())
	if _, err := Setup(t.Context(), nc, SetupOptions{MaxBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	return srv, nc, js
}

// began is an event of a host that refuses connections; closed of the end of the same.
func began(site, host string, n int) notify.Outgoing {
	return incident(site, host, n, remediate.EventIncidentOpened)
}

func closed(site, host string, n int) notify.Outgoing {
	return incident(site, host, n, remediate.EventIncidentClosed)
}

func incident(site, host string, n int, typ remediate.EventType) notify.Outgoing {
	at := time.Now().UTC()
	i := remediate.Incident{
		ID: fmt.Sprintf("inc-%s-%s-%d", site, host, n), Severity: remediate.SeverityCritical, Verified: true, OpenedAt: at,
		NetNS: remediate.NetNS{Inode: 4026531840, Name: "init"}, Matches: 3, Drops: 200, Count: 262144, PeakCount: 262144, Max: 262144,
		Buckets: 65536, InsertRate: 900, Top: []remediate.Talker{{Address: site + "-" + host, Entries: 200_000}}, // no two hosts have the same
	}
	if typ == remediate.EventIncidentClosed {
		i.ClosedAt = &at
	}
	ev, err := notify.Encode(notify.Identity{Host: host, Site: site, Version: "v1"}, remediate.Event{
		ID: fmt.Sprintf("ev-%s-%s-%d-%s", site, host, n, typ), Type: typ, Time: at, Data: i,
	})
	if err != nil {
		panic(err)
	}
	return ev
}

// publish sends events as agents do, and returns when all are stored.
func publish(t *testing.T, nc *nats.Conn, events ...notify.Outgoing) {
	t.Helper()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(256))
	if err != nil {
		t.Fatal(err)
	}
	for len(events) > 0 {
		n := min(len(events), 256)
		if err := publishSome(js, events[:n]); err != nil {
			t.Log(err) // as an agent does, which then sends all that were not acknowledged again
			pause(t.Context(), 100*time.Millisecond)
			continue
		}
		events = events[n:]
	}
}

func publishSome(js jetstream.JetStream, events []notify.Outgoing) error {
	var acks []jetstream.PubAckFuture
	for _, ev := range events {
		m := &nats.Msg{Subject: ev.Subject, Data: ev.Body, Header: nats.Header{nats.MsgIdHdr: {ev.ID}, "Content-Type": {notify.ContentType}}}
		ack, err := js.PublishMsgAsync(m)
		if err != nil {
			return err
		}
		acks = append(acks, ack)
	}
	patience := time.NewTimer(5 * time.Second)
	defer patience.Stop()
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return err
		case <-patience.C:
			return context.DeadlineExceeded
		}
	}
	return nil
}

// stateOf is a host's state as an agent sends it.
func stateOf(site, host string, count uint64, f *notify.FleetState) []byte {
	doc := map[string]any{
		"running": true, "version": "v1", "host": host, "site": site, "mode": "remediate", "at": time.Now().UTC(),
		"limits": map[string]any{"nf_conntrack_max": 262144, "net_nf_conntrack_max": 262144, "buckets": 65536},
		"netns": []any{map[string]any{
			"inode": 4026531840, "name": "init", "count": count, "peak": count,
			"counters": map[string]any{"drop": 7, "early_drop": 1, "insert_failed": 0, "chainlength": 0, "search_restart": 0},
		}},
		"netns_total": 1, "sources": []any{}, "incidents": []any{}, "steps": []any{},
	}
	if f != nil {
		doc["fleet"] = f
	}
	b, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return b
}

func putState(t *testing.T, nc *nats.Conn, site, host string, body []byte) {
	t.Helper()
	if err := nc.Publish(notify.HostStateSubject(site, host), body); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// settled waits until all that the stream has is acknowledged.
func settled(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	testhost.Eventually(t, "every event is acknowledged", func() bool {
		done, err := allAcknowledged(t.Context(), js)
		return err == nil && done
	})
}

// allAcknowledged goes by the stream's last event. What is pending for the consumer the server counts a moment after it
// has stored an event.
func allAcknowledged(ctx context.Context, js jetstream.JetStream) (bool, error) {
	s, err := js.Stream(ctx, notify.StreamName)
	if err != nil {
		return false, err
	}
	c, err := s.Consumer(ctx, Consumer)
	if err != nil {
		return false, err
	}
	return c.CachedInfo().AckFloor.Stream >= s.CachedInfo().State.LastSeq, nil
}

// prefixIn is what precedes the keys in the bucket.
func prefixIn(t *testing.T, js jetstream.JetStream) string {
	t.Helper()
	s, err := js.Stream(t.Context(), "KV_"+FleetBucket)
	if err != nil {
		t.Fatal(err)
	}
	prefix, err := prefixOf(s)
	if err != nil {
		t.Fatal(err)
	}
	return prefix
}
