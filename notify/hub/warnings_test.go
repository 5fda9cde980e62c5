package hub

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
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

// TestNoPurge: what hosts may write to cannot be emptied by anybody, since a server that is not strict would take a host's
// acknowledgement for an order to.
func TestNoPurge(t *testing.T) {
	nc, js := connect(t, rawServer(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), NoJetStreamStrict: true}))
	if _, err := Setup(t.Context(), nc, SetupOptions{MaxBytes: 8 << 20}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"CTWARDEN": false, "KV_CTWARDEN_HOSTS": false, "CTWARDEN_COMMANDS": false, "KV_CTWARDEN_FLEET": true} {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Purge(t.Context()); (err == nil) != want {
			t.Errorf("%s: emptied with %v", name, err)
		}
	}
}
