package notify

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// credentialsDirectory is where systemd puts a service's credentials (systemd.exec, LoadCredential=).
const credentialsDirectory = "CREDENTIALS_DIRECTORY"

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

// SecretPath is the file that a setting means: one with a slash is a path, one without is the name of a credential that
// systemd gives to this service. Nothing means no file.
func SecretPath(setting string) (string, error) {
	if setting == "" || strings.Contains(setting, "/") {
		return setting, nil
	}
	dir := os.Getenv(credentialsDirectory)
	if dir == "" {
		return "", fmt.Errorf("%s is the name of a systemd credential, and systemd gave none to this process; "+
			"write LoadCredential=%s:/path/of/the/file into the unit, or give the absolute path of a file", setting, setting)
	}
	return filepath.Join(dir, setting), nil
}

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
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %s is not a regular file", key, path)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return fmt.Errorf("%s: %s can be read by every user (mode %04o); chmod 0600 it", key, path, info.Mode().Perm())
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
