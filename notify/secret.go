package notify

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/ctwarden/ctwarden/internal/secret"
)

// withPaths replaces the names of systemd credentials by the paths of their files.
func (d Dial) withPaths() (Dial, error) {
	var errs []error
	for _, f := range []struct {
		key  string
		path *string
	}{
		{"nats.credentials", &d.Credentials}, {"nats.tls.ca", &d.TLS.CA}, {"nats.tls.cert", &d.TLS.Cert}, {"nats.tls.key", &d.TLS.Key},
	} {
		path, err := SecretPath(*f.path)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.key, err))
		}
		*f.path = path
	}
	return d, errors.Join(errs...)
}

// SecretPath is the file that a setting means, see [secret.Path].
func SecretPath(setting string) (string, error) { return secret.Path(setting) }

// checkSecrets looks at the files that hold secrets. It is asked before every attempt to connect, since they can be
// replaced at any time.
func (d Dial) checkSecrets() error {
	return errors.Join(checkSecret("nats.credentials", d.Credentials), checkSecret("nats.tls.key", d.TLS.Key))
}

// checkSecret refuses a secret that every user of the host can read.
func checkSecret(key, path string) error {
	if path == "" {
		return nil
	}
	if err := secret.Check(path); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// HoldsSecret tells whether the address of a server has a password or a token in it.
func HoldsSecret(server string) bool {
	u, err := parseServer(server)
	if err != nil {
		return strings.Contains(server, "@")
	}
	return u.User != nil
}

// Redact is the address of a server without what is secret in it: the password, or the token that stands alone before
// the @.
func Redact(server string) string {
	u, err := parseServer(server)
	switch {
	case err != nil && strings.Contains(server, "@"):
		return "(unreadable address)"
	case err != nil || u.User == nil:
		return server
	}
	if _, has := u.User.Password(); has {
		return u.Redacted()
	}
	u.User = url.User("xxxxx")
	return u.String()
}

func redacted(servers []string) string {
	names := make([]string, len(servers))
	for i, s := range servers {
		names[i] = Redact(s)
	}
	return strings.Join(names, ", ")
}

// parseServer reads an address as the library does.
func parseServer(server string) (*url.URL, error) {
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	return url.Parse(server)
}
