package notify_test

import (
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// authority is an operator with an account for the fleet, as a NATS with .creds files has.
type authority struct {
	operator *jwt.OperatorClaims
	account  nkeys.KeyPair
	tokens   map[string]string // of the accounts, by their public keys
	system   string
}

func keys(t *testing.T, create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
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

func newAuthority(t *testing.T) *authority {
	t.Helper()
	operator, name := keys(t, nkeys.CreateOperator)
	a := &authority{operator: jwt.NewOperatorClaims(name), tokens: map[string]string{}}
	for _, system := range []bool{true, false} {
		k, public := keys(t, nkeys.CreateAccount)
		claims := jwt.NewAccountClaims(public)
		if system {
			a.system = public
		} else {
			a.account = k
			claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit}
		}
		token, err := claims.Encode(operator)
		if err != nil {
			t.Fatal(err)
		}
		a.tokens[public] = token
	}
	return a
}

// guard has a server let in the users of the authority alone.
func (a *authority) guard(t *testing.T, o *server.Options) {
	t.Helper()
	resolver := &server.MemAccResolver{}
	for public, token := range a.tokens {
		if err := resolver.Store(public, token); err != nil {
			t.Fatal(err)
		}
	}
	o.TrustedOperators, o.AccountResolver, o.SystemAccount = []*jwt.OperatorClaims{a.operator}, resolver, a.system
}

// user is the content of a new user's .creds file. The zero time: it does not expire.
func (a *authority) user(t *testing.T, expires time.Time) []byte {
	t.Helper()
	k, public := keys(t, nkeys.CreateUser)
	claims := jwt.NewUserClaims(public)
	if !expires.IsZero() {
		claims.Expires = expires.Unix()
	}
	token, err := claims.Encode(a.account)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := k.Seed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
