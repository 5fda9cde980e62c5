package main

import (
	"bytes"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestDoubts: what will hardly be meant is a warning of check-config and of serve, and no mistake.
func TestDoubts(t *testing.T) {
	const (
		user     = "users: [{name: ada, password_hash: \"$2y$04$lFnKQpNQKQdEnGs3Y5pf6.OTUnt5/hLRkNT0jEGMvxe2f1ooY5YH2\"}]\n"
		escalate = "oncall: [{name: ops, webhook: {url: \"https://x.example\", secret: /nonexistent}}]\n" +
			"routes: [{name: r, to: [ops], escalate: [{after: 15m, to: [ops]}]}]\n"
		helpless, plain = "routes[0].escalate: nobody can acknowledge", "passwords of users cross the network"
	)
	for _, c := range []struct{ name, text, want string }{
		{"the defaults", "", ""},
		{"escalation that nobody can stop", escalate, helpless},
		{"users who can", escalate + user, ""},
		{"a proxy's users who can", escalate + "trusted_header: {name: X-User, from: [127.0.0.1/32]}\n", ""},
		{"users without a page", escalate + user + "listen: \"\"\n", helpless},
		{"users on loopback", user + "listen: \"[::1]:80\"\n", ""},
		{"users on localhost", user + "listen: localhost:80\n", ""},
		{"users on all addresses", user + "listen: 0.0.0.0:80\n", plain},
		{"users on a name", user + "listen: hub.example:80\n", plain},
		{"readers on all addresses", "listen: \"[::]:80\"\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := loadSettings(writeConfig(t, c.text))
			if err != nil {
				t.Fatal(err)
			}
			said := strings.Join(s.doubts(), "\n")
			if c.want == "" && said != "" || !strings.Contains(said, c.want) {
				t.Errorf("doubts: %q, want %q", said, c.want)
			}
		})
	}
	file := writeConfig(t, user+"listen: 192.0.2.1:80\n")
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"check-config", file}, &out, &errs); code != exitDone || !strings.Contains(out.String(), "warning: listen: "+"192.0.2.1:80") {
		t.Errorf("check-config: code %d: %s%s", code, &out, &errs)
	}
	s, err := loadSettings(file)
	if err != nil {
		t.Fatal(err)
	}
	core, logged := observer.New(zap.WarnLevel)
	if s.logDoubts(zap.New(core)); logged.FilterMessage("configuration_doubtful").Len() != 1 {
		t.Errorf("logged: %v", logged.All())
	}
}
