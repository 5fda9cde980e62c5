package notify

import (
	"crypto/sha256"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Explainer puts the errors of one connection into words for the operator, with what to do. It remembers that a server has
// called the credentials revoked: that is said once, to a connection that stands, and to those who come again only that they
// are not let in. Whoever has the connection calls Connected when it stands. The zero value but for Dial is ready. It may be
// used from several goroutines.
type Explainer struct {
	Dial Dial

	mu sync.Mutex
	// revoked is when a server said so, sum the content of the credentials of then.
	revoked time.Time
	sum     [sha256.Size]byte
}

// Explain puts an error of the connection, or of an attempt to connect, into words.
func (e *Explainer) Explain(err error) error {
	if ProblemOf(err) != ProblemOther || !isRefusal(err) {
		return e.Dial.connectReason(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	sum := e.Dial.credentialsSum()
	if errors.Is(err, nats.ErrAuthRevoked) && (e.revoked.IsZero() || sum != e.sum) {
		e.revoked, e.sum = time.Now(), sum
	}
	if e.revoked.IsZero() || sum != e.sum || !e.Dial.expired().IsZero() {
		return e.Dial.connectReason(err)
	}
	return notLetIn("its credentials were revoked at "+e.revoked.UTC().Format(time.RFC3339), err)
}

// Connected says that a server has let the credentials in: what was said of them before is over.
func (e *Explainer) Connected() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.revoked = time.Time{}
}

// notLetIn is an error of credentials that a server does not take.
func notLetIn(why string, err error) error {
	return because(ProblemCredentials, "the server does not let this host in: %s; "+
		"see to nats.credentials, or the user in nats.servers: %w", why, err)
}

// credentialsSum changes with the file of credentials; zero: there is none that can be read.
func (d Dial) credentialsSum() (sum [sha256.Size]byte) {
	path, err := SecretPath(d.Credentials)
	if err != nil || path == "" {
		return sum
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return sum
	}
	return sha256.Sum256(text)
}
