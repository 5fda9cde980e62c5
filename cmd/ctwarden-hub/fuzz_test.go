package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ctwarden/ctwarden/internal/config"
)

// FuzzConfig: a hub's configuration is refused with its problems named, or it is one that can be run.
func FuzzConfig(f *testing.F) {
	shipped, err := os.ReadFile("../../packaging/hub.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		string(shipped), "", "embedded: {enabled: true, max_bytes: 1MiB}", "nats: {servers: ['nats://u:p@h:1', '://']}\nembedded: {enabled: true}",
		"state: x", "embedded: {store: y}", "nats: {tls: {cert: /a}}", "embedded: {max_bytes: -1}", "embedded: {max_bytes: 9e99GiB}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := defaults()
		_, err := config.Decode("f", data, &s)
		var bad *config.Error
		switch {
		case errors.As(err, &bad) && len(bad.Problems) > 0:
		case err != nil:
			t.Fatalf("%q: %v, want the problems", data, err)
		case !filepath.IsAbs(s.State) || s.Embedded.MaxBytes < 1<<20 || s.Embedded.Enabled && len(s.NATS.Servers) > 0:
			t.Fatalf("%q is let through: %+v", data, s)
		}
	})
}
