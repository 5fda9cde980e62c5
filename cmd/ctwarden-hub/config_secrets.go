package main

import (
	"fmt"
	"os"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/notify"
)

// secretFile is a key that names a file which not every user may read.
type secretFile struct{ key, setting string }

func (s settings) secrets() []secretFile {
	all := []secretFile{{"nats.credentials", s.NATS.Credentials}, {"nats.tls.key", s.NATS.TLS.Key}}
	for i, c := range s.OnCall {
		for _, f := range c.Files() {
			if f.Secret {
				all = append(all, secretFile{fmt.Sprintf("oncall[%d].%s", i, f.Key), f.Setting})
			}
		}
	}
	return all
}

// onMachine looks at what only the machine can tell: secrets that every user may read, in the file itself or in those that
// it names, and time zones.
func (s settings) onMachine(file *config.File) error {
	var bad config.Error
	add := func(key, format string, args ...any) {
		bad.Problems = append(bad.Problems, file.Problem(key, format, args...))
	}
	for _, secret := range s.secrets() {
		if path, err := notify.SecretPath(secret.setting); err == nil && forEverybody(path) {
			add(secret.key, "can be read by every user of this machine; chmod 0640 %s", path)
		}
	}
	if forEverybody(file.Path) {
		for i, server := range s.NATS.Servers {
			if notify.HoldsSecret(server) {
				add(fmt.Sprintf("nats.servers[%d]", i),
					"holds a secret, and this file may be read by every user; chmod 0640 %s, or use nats.credentials", file.Path)
			}
		}
		if len(s.Users) > 0 {
			add("users", "holds hashes of passwords, and this file may be read by every user; chmod 0640 %s", file.Path)
		}
	}
	for key, zone := range s.zones() {
		if _, err := location(zone); err != nil {
			add(key, "no such time zone on this machine; write one like Europe/Zurich, or UTC")
		}
	}
	if len(bad.Problems) > 0 {
		return &bad
	}
	return nil
}

func forEverybody(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o007 != 0
}
