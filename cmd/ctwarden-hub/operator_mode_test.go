package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/ctwarden/ctwarden/notify/hub"
)

// operatorMode is a NATS whose users have JWTs, signed by keys with the permissions that init prints for nsc.
type operatorMode struct {
	t        *testing.T
	operator nkeys.KeyPair
	account  nkeys.KeyPair
	claims   *jwt.AccountClaims
	roles    map[string]nkeys.KeyPair
	resolver *server.MemAccResolver
	server   *server.Server
	url      string
}

func pair(t *testing.T, create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
	t.Helper()
	k, err := create()
	if err != nil {
		t.Fatal(err)
	}
	public, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return k, public
}

func newOperatorMode(t *testing.T) *operatorMode {
	t.Helper()
	m := &operatorMode{t: t, roles: map[string]nkeys.KeyPair{}, resolver: &server.MemAccResolver{}}
	operator, name := pair(t, nkeys.CreateOperator)
	account, public := pair(t, nkeys.CreateAccount)
	_, systemPublic := pair(t, nkeys.CreateAccount)
	m.operator, m.account, m.claims = operator, account, jwt.NewAccountClaims(public)
	m.claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	for role, p := range readRoles(t, printed(t, "jwt", hostA)) {
		k, signer := pair(t, nkeys.CreateAccount)
		m.roles[role] = k
		scope := jwt.NewUserScope()
		scope.Key, scope.Role = signer, role
		scope.Template.Pub.Allow.Add(p.Publish...)
		scope.Template.Pub.Deny.Add(p.NoPublish...)
		scope.Template.Sub.Allow.Add(p.Subscribe...)
		if p.Respond {
			scope.Template.Resp = &jwt.ResponsePermission{MaxMsgs: 1, Expires: 2 * time.Minute}
		}
		m.claims.SigningKeys.AddScopedSigner(scope)
	}
	m.store(systemPublic, jwt.NewAccountClaims(systemPublic))
	m.store(public, m.claims)
	m.server = startServer(t, "", func(o *server.Options) {
		o.TrustedOperators, o.AccountResolver = []*jwt.OperatorClaims{jwt.NewOperatorClaims(name)}, m.resolver
		o.SystemAccount = systemPublic
	})
	m.url = m.server.ClientURL()
	return m
}

func (m *operatorMode) store(public string, claims *jwt.AccountClaims) {
	m.t.Helper()
	token, err := claims.Encode(m.operator)
	if err == nil {
		err = m.resolver.Store(public, token)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// readRoles reads the commands for nsc.
func readRoles(t *testing.T, text string) map[string]hub.Permissions {
	t.Helper()
	out := map[string]hub.Permissions{}
	for _, c := range regexp.MustCompile(`(?s)nsc edit signing-key .*?--role (\w+) (.*?)--bearer`).FindAllStringSubmatch(text, -1) {
		var p hub.Permissions
		for _, f := range regexp.MustCompile(`--(allow-pub|allow-sub|deny-pub) '([^']+)'`).FindAllStringSubmatch(c[2], -1) {
			switch f[1] {
			case "allow-pub":
				p.Publish = append(p.Publish, f[2])
			case "deny-pub":
				p.NoPublish = append(p.NoPublish, f[2])
			default:
				p.Subscribe = append(p.Subscribe, f[2])
			}
		}
		p.Respond = strings.Contains(c[2], "--allow-pub-response")
		out[c[1]] = p
	}
	if len(out) != 3 {
		t.Fatalf("%d roles in %s", len(out), text)
	}
	return out
}

// user makes the .creds file of a new user; expires zero: never.
func (m *operatorMode) user(name string, expires time.Time) string {
	m.t.Helper()
	k, public := pair(m.t, nkeys.CreateUser)
	claims := jwt.NewUserClaims(public)
	claims.Name = name
	accountPublic, err := m.account.PublicKey()
	if err != nil {
		m.t.Fatal(err)
	}
	signer := m.account
	if name != "admin" {
		site, host, isHost := strings.Cut(name, ".")
		role := name
		if isHost {
			role = "host"
			claims.Tags.Add("site:"+site, "host:"+host)
		}
		signer, claims.IssuerAccount = m.roles[role], accountPublic
		claims.SetScoped(true)
	}
	if !expires.IsZero() {
		claims.Expires = expires.Unix()
	}
	token, err := claims.Encode(signer)
	if err != nil {
		m.t.Fatal(err)
	}
	seed, err := k.Seed()
	if err != nil {
		m.t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		m.t.Fatal(err)
	}
	file := filepath.Join(m.t.TempDir(), "user.creds")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		m.t.Fatal(err)
	}
	return file
}

// update has the server read the account anew, as after nsc push.
func (m *operatorMode) update() {
	m.t.Helper()
	public, err := m.account.PublicKey()
	if err != nil {
		m.t.Fatal(err)
	}
	m.store(public, m.claims)
	account, err := m.server.LookupAccount(public)
	if err != nil {
		m.t.Fatal(err)
	}
	m.server.UpdateAccountClaims(account, m.claims)
}

// revoke takes the right to sign in from whoever has these credentials.
func (m *operatorMode) revoke(creds string) {
	m.t.Helper()
	text, err := os.ReadFile(creds)
	if err != nil {
		m.t.Fatal(err)
	}
	token, err := jwt.ParseDecoratedJWT(text)
	if err != nil {
		m.t.Fatal(err)
	}
	claims, err := jwt.DecodeUserClaims(token)
	if err != nil {
		m.t.Fatal(err)
	}
	m.claims.Revoke(claims.Subject)
	m.update()
}
