package notify_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/notify"
)

func TestRedact(t *testing.T) {
	for _, c := range []struct {
		server, want string
		secret       bool
	}{
		{"nats://nats1:4222", "nats://nats1:4222", false},
		{"nats1:4222", "nats1:4222", false},
		{"nats://me:hunter2@nats1:4222", "nats://me:xxxxx@nats1:4222", true},
		{"nats://hunter2@nats1:4222", "nats://xxxxx@nats1:4222", true},
		{"me:hunter2@nats1", "nats://me:xxxxx@nats1", true},
		{"wss://me:hun,ter2@nats1/path", "wss://me:xxxxx@nats1/path", true},
		{"nats://me:hun/ter2@nats1", "(unreadable address)", true},
	} {
		if got := notify.Redact(c.server); got != c.want {
			t.Errorf("%s: got %s, want %s", c.server, got, c.want)
		}
		if got := notify.HoldsSecret(c.server); got != c.secret {
			t.Errorf("%s: holds a secret %v, want %v", c.server, got, c.secret)
		}
	}
}

func TestSecretPath(t *testing.T) {
	for _, c := range []struct {
		name, directory, setting, want string
		wrong                          string // in the error
	}{
		{"nothing", "/run/credentials/x", "", "", ""},
		{"a path", "/run/credentials/x", "/etc/agent.creds", "/etc/agent.creds", ""},
		{"a credential", "/run/credentials/x", "agent.creds", "/run/credentials/x/agent.creds", ""},
		{"a credential without systemd", "", "agent.creds", "", "LoadCredential=agent.creds:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("CREDENTIALS_DIRECTORY", c.directory)
			got, err := notify.SecretPath(c.setting)
			if got != c.want || (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("got %q, %v; want %q, %q", got, err, c.want, c.wrong)
			}
		})
	}
}

// TestCredentialsOfSystemd has the file where systemd would put it.
func TestCredentialsOfSystemd(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	dial := notify.Dial{Servers: []string{"nats://127.0.0.1:1"}, Credentials: "agent.creds"}
	if err := dial.Check(); err == nil || !strings.Contains(err.Error(), dir+"/agent.creds: no such file") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "agent.creds"), newAuthority(t).user(t, time.Time{}), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := dial.Check(); err != nil {
		t.Error(err)
	}
}
