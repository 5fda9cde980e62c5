package hub

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ctwarden/ctwarden/notify"
)

// TestWarnings has servers and streams that are less safe than they should be.
func TestWarnings(t *testing.T) {
	const lax, single = "takes JetStream requests that it does not understand in full", "CTWARDEN, KV_CTWARDEN_FLEET, CTWARDEN_COMMANDS: one copy."
	for _, c := range []struct {
		name   string
		server server.Options
		stream jetstream.StreamConfig // that is there before
		want   []string
	}{
		{"one server", server.Options{}, jetstream.StreamConfig{}, []string{single}},
		{"not strict", server.Options{NoJetStreamStrict: true}, jetstream.StreamConfig{}, []string{single, lax}},
		{"in memory", server.Options{}, jetstream.StreamConfig{Storage: jetstream.MemoryStorage},
			[]string{"CTWARDEN: kept in memory alone", "KV_CTWARDEN_FLEET, CTWARDEN_COMMANDS: one copy."}},
		{"asynchronous", server.Options{}, jetstream.StreamConfig{PersistMode: jetstream.AsyncPersistMode},
			[]string{"CTWARDEN: written to disk after the acknowledgement", "KV_CTWARDEN_FLEET, CTWARDEN_COMMANDS: one copy."}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.server.JetStream, c.server.StoreDir = true, t.TempDir()
			nc, js := connect(t, rawServer(t, &c.server))
			if c.stream.Storage != jetstream.FileStorage || c.stream.PersistMode != jetstream.DefaultPersistMode {
				c.stream.Name, c.stream.Subjects = "CTWARDEN", []string{"x"}
				if _, err := js.CreateStream(t.Context(), c.stream); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Setup(t.Context(), nc, SetupOptions{MaxBytes: 8 << 20}); err != nil {
				t.Fatal(err)
			}
			got, err := Warnings(t.Context(), nc)
			if err != nil || len(got) != len(c.want) {
				t.Fatalf("got %q, %v", got, err)
			}
			for i, want := range c.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("got %q, want %q", got[i], want)
				}
			}
		})
	}
}

// TestNoPurge: what hosts may write to cannot be emptied or picked from by anybody, since a server that is not strict would take
// a host's acknowledgement for an order to. That holds for streams of an older version too.
func TestNoPurge(t *testing.T) {
	mayPurge := map[string]bool{"CTWARDEN": false, "KV_CTWARDEN_HOSTS": false, "CTWARDEN_COMMANDS": false, "KV_CTWARDEN_FLEET": true}
	for _, older := range []bool{false, true} {
		nc, js := connect(t, rawServer(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), NoJetStreamStrict: true}))
		o := SetupOptions{MaxBytes: 8 << 20}
		if older {
			for _, cfg := range []jetstream.StreamConfig{eventStream(o), commandStream(o)} {
				cfg.DenyDelete, cfg.DenyPurge = false, false
				if _, err := js.CreateStream(t.Context(), cfg); err != nil {
					t.Fatal(err)
				}
			}
		}
		for n := range 2 {
			changes, err := Setup(t.Context(), nc, o)
			if err != nil {
				t.Fatal(err)
			}
			if n == 1 && len(changes) > 0 {
				t.Errorf("older %v: changed again: %q", older, changes)
			}
		}
		for name, want := range mayPurge {
			s, err := js.Stream(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if !s.CachedInfo().Config.DenyDelete {
				t.Errorf("older %v: %s lets single messages be deleted", older, name)
			}
			if err := s.Purge(t.Context()); (err == nil) != want {
				t.Errorf("older %v: %s: emptied with %v", older, name, err)
			}
		}
		victim, err := js.Publish(t.Context(), notify.SubjectPrefix+".gva.victim.incident.opened", []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		for range victim.Sequence { // one of the acknowledgements has the sequence of the event
			order := &nats.Msg{Subject: notify.HostStateSubject("gva", "evil"), Reply: "$JS.API.STREAM.MSG.DELETE.CTWARDEN", Data: []byte("{}")}
			if err := nc.PublishMsg(order); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := js.Publish(t.Context(), notify.HostStateSubject("gva", "evil"), []byte("{}")); err != nil { // behind those
			t.Fatal(err)
		}
		s, err := js.Stream(t.Context(), "CTWARDEN")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteMsg(t.Context(), victim.Sequence); err == nil {
			t.Errorf("older %v: deleted", older)
		}
		if _, err := s.GetMsg(t.Context(), victim.Sequence); err != nil {
			t.Errorf("older %v: the event of another host: %v", older, err)
		}
	}
}
