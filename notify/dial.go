package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"github.com/nats-io/nats.go"
)

// The times of a connection.
const (
	dialTimeout = 2 * time.Second
	// firstReconnect and lastReconnect bound the wait between two attempts to connect, which doubles from one to the
	// other and is shortened by up to half at random, so that a fleet does not come back all at once.
	firstReconnect = 250 * time.Millisecond
	lastReconnect  = 8 * time.Second
	// stalledWrite is how long a server may refuse to read before the connection is given up for a new one.
	stalledWrite = 2 * time.Second
	pingInterval = 20 * time.Second
)

// Dial says how to reach NATS.
type Dial struct {
	// Servers are URLs: nats://, tls://, ws:// or wss://, or host:port.
	Servers []string
	// Credentials is a .creds file, or one with the seed of a user's key alone (signIn), read anew at every connect. It must not be readable by other users. A value without a
	// slash names a systemd credential ([SecretPath]).
	Credentials string
	TLS         TLS
	// Name is shown in the server's list of connections.
	Name string
	// InboxPrefix is where replies come in; the server's permissions may name it. Empty: "_INBOX".
	InboxPrefix string
}

// TLS holds the paths of PEM files, or the names of systemd credentials. All are optional; Cert and Key go together.
type TLS struct {
	CA, Cert, Key string
}

// ErrUnavailable says that no server could be reached, or that none lets us in.
var ErrUnavailable = errors.New("NATS is not available")

// Check looks for what makes connecting impossible whatever the server says: a bad URL, a file that is not there,
// that other users can read or that is no certificate or key. It returns all that it finds.
func (d Dial) Check() error { return errors.Join(d.checkWords(), d.checkFiles()) }

// checkWords is the part of Check that needs no file, so that time does not mend what it finds.
func (d Dial) checkWords() error {
	var errs []error
	if len(d.Servers) == 0 {
		errs = append(errs, errors.New("nats.servers is empty"))
	}
	for _, s := range d.Servers {
		errs = append(errs, checkServer(s))
	}
	if (d.TLS.Cert == "") != (d.TLS.Key == "") {
		errs = append(errs, errors.New("nats.tls: cert and key go together"))
	}
	return errors.Join(errs...)
}

// checkFiles is the part of Check that looks at the files.
func (d Dial) checkFiles() error {
	d, err := d.withPaths()
	return errors.Join(err, d.checkSecrets(), d.TLS.Check())
}

// Check looks whether the files hold what they should. The errors name key and file.
func (t TLS) Check() error { return errors.Join(t.checkCA(), t.checkPair()) }

// checkCA looks whether there is a certificate in the file.
func (t TLS) checkCA() error {
	if t.CA == "" {
		return nil
	}
	text, err := os.ReadFile(t.CA)
	if err != nil {
		return fmt.Errorf("nats.tls.ca: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return fmt.Errorf("nats.tls.ca: %s holds no certificate in PEM form", t.CA)
	}
	return nil
}

// checkPair looks whether certificate and key can be used and belong together.
func (t TLS) checkPair() error {
	if t.Cert == "" || t.Key == "" {
		return nil
	}
	if _, err := tls.LoadX509KeyPair(t.Cert, t.Key); err != nil {
		return fmt.Errorf("nats.tls.cert %s with nats.tls.key %s: %w", t.Cert, t.Key, err)
	}
	return nil
}

// checkServer never quotes the address as it stands, since it may hold a password.
func checkServer(server string) error {
	u, err := parseServer(server)
	if err != nil {
		return errors.New("nats.servers: an address that cannot be read; write nats://host:4222")
	}
	switch u.Scheme {
	case "nats", "tls", "ws", "wss":
	default:
		return fmt.Errorf("nats.servers: %s: scheme %q; use nats, tls, ws or wss", Redact(server), u.Scheme)
	}
	if u.Hostname() == "" {
		return fmt.Errorf("nats.servers: %s: no host; write nats://host:4222", Redact(server))
	}
	return nil
}

// options are what every connection of ours has: it never gives up, keeps nothing in memory while it is away (the
// outbox does), and tells why it is away. Dialling ends with ctx.
func (d Dial) options(ctx context.Context) ([]nats.Option, error) {
	if err := d.checkFiles(); err != nil {
		return nil, err
	}
	d, err := d.withPaths()
	if err != nil {
		return nil, err
	}
	opts := []nats.Option{
		// Not joined by commas: one in a password would part it.
		func(o *nats.Options) error { o.Url, o.Servers = "", d.Servers; return nil },
		// The dialer looks names up, since it can be told to stop: a full table drops DNS too.
		nats.SkipHostLookup(),
		nats.Name(d.Name), nats.Timeout(dialTimeout), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1),
		nats.CustomReconnectDelay(reconnectDelay), nats.IgnoreAuthErrorAbort(),
		nats.FlusherTimeout(stalledWrite), nats.PingInterval(pingInterval), nats.SetCustomDialer(dialer{ctx, d.checkSecrets}),
	}
	if d.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(d.InboxPrefix))
	}
	if d.Credentials != "" {
		in, err := signIn(d.Credentials)
		if err != nil {
			return nil, err
		}
		opts = append(opts, in)
	}
	if d.TLS.CA != "" {
		opts = append(opts, nats.RootCAs(d.TLS.CA))
	}
	if d.TLS.Cert != "" {
		opts = append(opts, nats.ClientCert(d.TLS.Cert, d.TLS.Key))
	}
	return opts, nil
}

// dialer gives up dialling when ctx is done, and does not begin where check finds a secret that must not be used.
type dialer struct {
	ctx   context.Context
	check func() error
}

func (d dialer) Dial(network, address string) (net.Conn, error) {
	if err := d.check(); err != nil {
		return nil, because(ProblemFile, "%w", err)
	}
	nd := net.Dialer{Timeout: dialTimeout}
	return nd.DialContext(d.ctx, network, address)
}

// ReconnectDelay is the wait before an attempt to connect again, as every connection of ours has it. It is for those who
// want to hear of each attempt ([nats.CustomReconnectDelay]).
func ReconnectDelay(attempts int) time.Duration { return reconnectDelay(attempts) }

func reconnectDelay(attempts int) time.Duration {
	d := lastReconnect
	if attempts < 6 {
		d = min(d, firstReconnect<<max(attempts-1, 0))
	}
	return d/2 + rand.N(d/2)
}

// ConnectLater gives a connection that is made in the background, as soon as a server lets us in. The caller closes it. The
// error is [Dial.Check]'s.
func (d Dial) ConnectLater(more ...nats.Option) (*nats.Conn, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	opts, err := d.options(context.Background())
	if err != nil {
		return nil, err
	}
	return nats.Connect("", append(append(opts, nats.RetryOnFailedConnect(true)), more...)...)
}

// Connect connects once, for a command that should say at once what is wrong. Later losses of the connection are
// mended in the background. The caller closes the connection. The error wraps [ErrUnavailable] or is [Dial.Check]'s.
func (d Dial) Connect(more ...nats.Option) (*nats.Conn, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	opts, err := d.options(context.Background())
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect("", append(opts, more...)...)
	if errors.Is(err, nats.ErrNoServers) { // what the library makes of a connection that was refused
		err = fmt.Errorf("connection refused, nothing listens there: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w at %s: %w", ErrUnavailable, redacted(d.Servers), d.connectReason(err))
	}
	return nc, nil
}
