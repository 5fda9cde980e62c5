package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/notify"
)

// namedFile is a key that names a file.
type namedFile struct {
	key, setting string
	secret       bool // what is in it must not be for everybody
}

// onMachine looks at the file on this machine.
func (f namedFile) onMachine(file *config.File, key string) (mistakes, warnings []config.Problem) {
	path, err := notify.SecretPath(f.setting)
	if err != nil {
		return nil, []config.Problem{file.Problem(key, "%v", err)}
	}
	switch mode, err := readable(path); {
	case path == "":
	case errors.Is(err, errNotFile):
		mistakes = append(mistakes, file.Problem(key, "%s: %v; name a file", path, err))
	case err != nil:
		warnings = append(warnings, file.Problem(key, "cannot be read here: %s", cause(err)))
	case f.secret && mode.Perm()&0o007 != 0:
		mistakes = append(mistakes, file.Problem(key,
			"may be read by every user of this machine; chmod 0640 %s, with the group of the agent's user", path))
	}
	return mistakes, warnings
}

// files are the keys that name files, as paths or as the names of systemd credentials.
func (n *natsConfig) files() []namedFile {
	return []namedFile{
		{"credentials", n.Credentials, true}, {"tls.ca", n.TLS.CA, false}, {"tls.cert", n.TLS.Cert, false}, {"tls.key", n.TLS.Key, true},
	}
}

// wrongFile says what is wrong with the setting of a key that names a file.
func wrongFile(setting string) string {
	switch {
	case setting == "" || filepath.IsAbs(setting):
		return ""
	case looksSecret(setting):
		return "must be the absolute path of a file, or the name of a systemd credential; the secret itself does not belong here"
	case strings.Contains(setting, "/"):
		return "must be the absolute path of a file, or the name of a systemd credential, which has no slash"
	}
	return ""
}

// looksSecret tells the secret itself, pasted where its file should be named: a seed, a token or the text of a file.
func looksSecret(setting string) bool {
	return regexp.MustCompile(`^S[A-Z2-7]{50,}$|^eyJ|-----|\s`).MatchString(setting) || len(setting) > 255
}

// onMachine looks at the files on this machine. What only is not here may be there where the file is meant for, or come
// later: the agent starts without, and says what is missing.
func (n *natsConfig) onMachine(file *config.File) (mistakes, warnings []config.Problem) {
	for _, f := range n.files() {
		wrong, unsure := f.onMachine(file, "nats."+f.key)
		mistakes, warnings = append(mistakes, wrong...), append(warnings, unsure...)
	}
	if mode, err := readable(file.Path); err == nil && mode.Perm()&0o004 != 0 {
		for i, server := range n.Servers {
			if notify.HoldsSecret(server) {
				mistakes = append(mistakes, file.Problem(fmt.Sprintf("nats.servers[%d]", i),
					"holds a secret, and this file may be read by every user; chmod 0640 %s, or use nats.credentials", file.Path))
			}
		}
	}
	if len(mistakes) > 0 {
		return mistakes, warnings // what is in a file that is none is not to be asked for
	}
	if err := n.pem(); err != nil {
		mistakes = append(mistakes, file.Problem("nats.tls", "%s", strings.ReplaceAll(err.Error(), "\n", "; ")))
	}
	return mistakes, warnings
}

// pem looks whether the files that are here hold what they should.
func (n *natsConfig) pem() error {
	var t notify.TLS
	for _, f := range []struct {
		setting string
		path    *string
	}{{n.TLS.CA, &t.CA}, {n.TLS.Cert, &t.Cert}, {n.TLS.Key, &t.Key}} {
		path, err := notify.SecretPath(f.setting)
		if err != nil {
			return nil // a warning already
		}
		*f.path = path
	}
	if err := t.Check(); err != nil && !errors.Is(err, fs.ErrNotExist) && !isPermission(err) {
		return err
	}
	return nil
}
