package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/hub"
)

// office is a NATS server that lets in whom it knows, by what init prints, and one user's file of credentials.
type office struct {
	t *testing.T
	// user is the user's name, file where its credentials are.
	user, file string
	url        string
	admin      *nats.Conn

	// jwt is set in that form. In the other one there are the server with its settings and its users' text, and the user's
	// public key in that.
	jwt      *operatorMode
	server   *server.Server
	settings server.Options
	text     string
	key      string
}

// newOffice starts one. The user has credentials that do.
func newOffice(t *testing.T, form, user string) *office {
	t.Helper()
	o := &office{t: t, user: user, file: filepath.Join(t.TempDir(), "credentials")}
	var admin string
	if form == "jwt" {
		o.jwt = newOperatorMode(t)
		o.url, admin = o.jwt.url, o.jwt.user("admin", time.Time{})
		o.lay(o.jwt.user(user, time.Time{}))
	} else {
		text, seeds := keyText(t)
		o.text, o.key, admin = text, publicKey(t, seeds[user]), seeds["admin"]
		o.lay(seeds[user])
		o.server = startServer(t, text, func(so *server.Options) { o.settings = *so })
		o.url = o.server.ClientURL()
	}
	nc, err := notify.Dial{Servers: []string{o.url}, Credentials: admin}.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	o.admin = nc
	if _, err := hub.Setup(t.Context(), nc, hub.SetupOptions{MaxBytes: 8 << 20}); err != nil {
		t.Fatal(err)
	}
	return o
}

// lay puts other credentials in the place of the user's.
func (o *office) lay(from string) {
	o.t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(o.file+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(o.file+".new", o.file)
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

// foreign gives the user credentials that the server does not know.
func (o *office) foreign() {
	if o.jwt != nil {
		o.lay(newOperatorMode(o.t).user(o.user, time.Time{}))
		return
	}
	file, _ := keyOf(o.t)
	o.lay(file)
}

// expiring gives the user credentials for a while.
func (o *office) expiring(in time.Duration) { o.lay(o.jwt.user(o.user, time.Now().Add(in))) }

// revoke has the server let the user in no longer.
func (o *office) revoke() {
	if o.jwt != nil {
		o.jwt.revoke(o.file)
		return
	}
	_, other := keyOf(o.t)
	o.know(other)
}

// mend has the user's credentials do again: new ones or, where the server lists keys, by listing the one that the user has.
func (o *office) mend() {
	if o.jwt != nil {
		o.lay(o.jwt.user(o.user, time.Time{}))
		return
	}
	o.know(publicKey(o.t, o.file))
}

// know has the server list another key for the user.
func (o *office) know(public string) {
	o.t.Helper()
	o.text = strings.Replace(o.text, o.key, public, 1)
	o.key = public
	file := filepath.Join(o.t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(o.text), 0o600); err != nil {
		o.t.Fatal(err)
	}
	next, err := server.ProcessConfigFile(file)
	if err != nil {
		o.t.Fatal(err)
	}
	had := o.settings
	had.Nkeys = next.Nkeys
	if err := o.server.ReloadOptions(&had); err != nil {
		o.t.Fatal(err)
	}
}

// publicKey is that of a seed in a file.
func publicKey(t *testing.T, file string) string {
	t.Helper()
	seed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	k, err := nkeys.FromSeed(bytes.TrimSpace(seed))
	if err != nil {
		t.Fatal(err)
	}
	public, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}
