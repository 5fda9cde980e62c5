package notify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// The bounds of publishing.
const (
	// window is how many events may be on their way without an acknowledgement.
	window = 256
	// ackTimeout is how long an acknowledgement may take.
	ackTimeout = 5 * time.Second
	// drainJitter is the longest wait, chosen at random, before the outbox drains after a reconnect.
	drainJitter = 4 * time.Second
	// firstRetry and lastRetry bound the wait after a publication that failed.
	firstRetry = 500 * time.Millisecond
	lastRetry  = 10 * time.Second
	// flushTime is how long Run goes on publishing once it is told to stop.
	flushTime = 2 * time.Second
	// mostReasons bounds how many reasons of one outage are logged.
	mostReasons = 16
)

// Queue is the outbox on disk. It is called from Run only.
type Queue interface {
	// Peek returns up to limit events behind the sequence number after, oldest first, and removes nothing.
	Peek(after uint64, limit int) ([]Outgoing, error)
	// Ack removes events for good.
	Ack(seqs []uint64) error
}

// PublisherOptions say what a publisher needs.
type PublisherOptions struct {
	Dial     Dial
	Identity Identity
	Queue    Queue
	Log      *zap.Logger
}

// Publisher sends the outbox to JetStream, in order, and keeps the host's state there.
//
// Order holds but for an event that the server refuses while it takes its successors. An event is removed from the
// outbox after its acknowledgement only; it may therefore arrive twice, under the same id. One that is larger than
// the server takes stays in the outbox and is passed over, until the next connection.
type Publisher struct {
	opts PublisherOptions
	// wake has room for one: a second wish to look at the outbox adds nothing to the first.
	wake chan struct{}

	mu     sync.Mutex
	js     jetstream.JetStream
	status Status
	// denials are the permissions violations of this connection, by their text, which names the subject. They explain
	// timeouts.
	denials map[string]error
	// outage has why the servers could not be reached since the connection was lost, so that each reason is logged once.
	outage map[string]bool
	// conn, send and host are what is wrong with the connection, with publishing and with the host's state.
	conn, send, host error
	// drainFrom is when the outbox may drain after a reconnect.
	drainFrom time.Time
	// epoch counts the connections; passed holds the events passed over in this one.
	epoch  int
	passed map[uint64]bool
}

// Status is the state of the connection to NATS.
type Status struct {
	// Configured is true where a server is configured at all.
	Configured bool
	Connected  bool
	// Server is the one connected to, without a password.
	Server string
	// Since is when the connection was made or lost.
	Since time.Time
	// Error says why nothing gets through, and what to do; empty when all is well.
	Error string
}

// NewPublisher checks the options. Whether a server answers is found out by Run.
func NewPublisher(opts PublisherOptions) (*Publisher, error) {
	if err := opts.Dial.Check(); err != nil {
		return nil, err
	}
	if err := errors.Join(CheckSite(opts.Identity.Site), checkHost(opts.Identity.Host)); err != nil {
		return nil, err
	}
	if opts.Dial.Name == "" {
		opts.Dial.Name = "ctwarden " + opts.Identity.Host
	}
	if opts.Dial.InboxPrefix == "" {
		opts.Dial.InboxPrefix = InboxPrefix(opts.Identity.Site, opts.Identity.Host)
	}
	return &Publisher{opts: opts, wake: make(chan struct{}, 1), denials: map[string]error{}, outage: map[string]bool{},
		status: Status{Configured: true}}, nil
}

// InboxPrefix is where a host's acknowledgements come in. It names the host, so that permissions can keep hosts from
// reading each other's.
func InboxPrefix(site, host string) string { return "_INBOX." + site + "." + HostToken(host) }

// Wake tells the publisher that the outbox has something new. It never blocks.
func (p *Publisher) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Status tells how the connection is. It never blocks on the network.
func (p *Publisher) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.status
	for _, err := range []error{p.conn, p.send, p.host} {
		if err != nil {
			s.Error = err.Error()
			break
		}
	}
	return s
}

// Run connects, keeps the connection and sends what the outbox holds and gets, until ctx is done. Then it goes on for
// two seconds at most, so that the last events get out if they can; the rest stays in the outbox. It returns nil then,
// after four seconds at the latest (a server that stopped reading can hold a write for two more). An error of the queue,
// or of a file that the connection needs, is noted, and tried again.
func (p *Publisher) Run(ctx context.Context) error {
	nc, js := p.connect(ctx)
	if nc == nil {
		return nil
	}
	defer nc.Close()
	p.mu.Lock()
	p.js = js
	p.mu.Unlock()
	// Sending goes on a little after ctx: what is on its way may still be acknowledged.
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(flushTime, cancel) })
	defer stop()
	l := &loop{p: p, nc: nc, js: js, retry: backoff.NewExponentialBackOff(), timer: time.NewTimer(0)}
	l.retry.InitialInterval, l.retry.MaxInterval = firstRetry, lastRetry
	defer l.timer.Stop()
	l.run(ctx, sending)
	return nil
}

// connect begins the connection, which the library then keeps. What keeps it from even beginning, such as a certificate
// that has gone since NewPublisher looked, is noted, and tried again. It returns nil when ctx is done.
func (p *Publisher) connect(ctx context.Context) (*nats.Conn, jetstream.JetStream) {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = firstRetry, lastRetry
	for {
		nc, err := nats.Connect(joinServers(p.opts.Dial.Servers), p.options(ctx)...)
		if err == nil {
			var js jetstream.JetStream
			js, err = jetstream.New(nc, jetstream.WithPublishAsyncTimeout(ackTimeout), jetstream.WithPublishAsyncMaxPending(window))
			if err == nil {
				return nc, js
			}
			nc.Close()
		}
		p.disconnected(err)
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(retry.NextBackOff()):
		}
	}
}

// loop drains the outbox whenever there may be something to drain and a chance to.
type loop struct {
	p     *Publisher
	nc    *nats.Conn
	js    jetstream.JetStream
	retry *backoff.ExponentialBackOff
	timer *time.Timer
	// epoch is the connection that retry belongs to.
	epoch int
}

func (l *loop) run(ctx, sending context.Context) {
	for {
		select {
		case <-ctx.Done():
			if l.nc.IsConnected() {
				l.p.note(l.p.drain(sending, l.js))
			}
			return
		case <-l.p.wake:
		case <-l.timer.C:
		}
		l.turn(ctx, sending)
	}
}

func (l *loop) turn(ctx, sending context.Context) {
	wait, epoch := l.p.mayDrain()
	if epoch != l.epoch { // a new connection: what failed before may work now
		l.epoch = epoch
		l.retry.Reset()
	}
	if !l.nc.IsConnected() {
		return // Publisher.connected wakes us
	}
	if wait > 0 {
		l.timer.Reset(wait)
		return
	}
	err := l.p.drain(sending, l.js)
	l.p.note(err)
	if err == nil {
		l.retry.Reset()
		return
	}
	pause := l.retry.NextBackOff()
	l.p.hold(epoch, pause)
	l.timer.Reset(pause)
	l.mend(ctx, err)
}

// mayDrain tells how long the outbox must still wait, and the number of the connection.
func (p *Publisher) mayDrain() (time.Duration, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Until(p.drainFrom), p.epoch
}

// hold lets the outbox wait after a failure, so that a stream of new events does not turn into a stream of attempts.
// A connection that was made meanwhile has its own wait.
func (p *Publisher) hold(epoch int, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.epoch == epoch {
		p.drainFrom = time.Now().Add(d)
	}
}

// mend asks a server that does not acknowledge whether it is there at all. One that is not is left for another at once
// rather than after the pings have gone unanswered.
func (l *loop) mend(ctx context.Context, err error) {
	if !errors.Is(err, jetstream.ErrAsyncPublishTimeout) || !l.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, stalledWrite)
	defer cancel()
	if err := l.nc.FlushWithContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return
	}
	if err := l.nc.ForceReconnect(); err != nil {
		l.p.opts.Log.Warn("nats_reconnect_failed", zap.Error(err))
	}
}

// note keeps what is wrong with publishing, and logs it where it is news.
func (p *Publisher) note(err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrReconnectBufExceeded) ||
		errors.Is(err, nats.ErrConnectionClosed) {
		return // told by the connection's own handlers
	}
	p.mu.Lock()
	before := p.send
	p.send = err
	p.mu.Unlock()
	if err != nil && (before == nil || before.Error() != err.Error()) {
		p.opts.Log.Warn("events_not_published", zap.Error(err))
	}
	if err == nil && before != nil {
		p.opts.Log.Info("events_published_again")
	}
}

// options are the connection's, with handlers that keep the status. They run on goroutines of the library.
func (p *Publisher) options(ctx context.Context) []nats.Option {
	return append(p.opts.Dial.options(),
		nats.RetryOnFailedConnect(true),
		nats.SetCustomDialer(dialer{ctx}),
		nats.ConnectHandler(p.connected),
		nats.ReconnectHandler(p.connected),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { p.disconnected(err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { p.disconnected(err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { p.failed(err) }),
	)
}

// dialer gives up dialling when the publisher is stopped.
type dialer struct{ ctx context.Context }

func (d dialer) Dial(network, address string) (net.Conn, error) {
	nd := net.Dialer{Timeout: dialTimeout}
	return nd.DialContext(d.ctx, network, address)
}

func (p *Publisher) connected(nc *nats.Conn) {
	p.mu.Lock()
	wait := rand.N(drainJitter)
	if p.epoch == 0 && p.conn == nil {
		wait = 0 // the server was there all along, so no fleet is coming back
	}
	p.status.Connected, p.status.Server, p.status.Since = true, nc.ConnectedUrlRedacted(), time.Now()
	p.conn, p.passed, p.denials, p.outage = nil, nil, map[string]error{}, map[string]bool{}
	p.epoch++
	p.drainFrom = time.Now().Add(wait)
	server := p.status.Server
	p.mu.Unlock()
	p.opts.Log.Info("nats_connected", zap.String("server", server), zap.Duration("drain_in", wait))
	p.Wake()
}

// disconnected notes that the connection is lost, or that a server could not be reached. Each reason is logged once an
// outage: the servers are tried in turn. That none was left to try, or that this side hung up, is no reason.
func (p *Publisher) disconnected(err error) {
	quiet := err == nil || errors.Is(err, nats.ErrNoServers)
	if err == nil {
		err = errors.New("the connection was closed")
	}
	err = fmt.Errorf("not connected to %s: %w", redacted(p.opts.Dial.Servers), err)
	p.mu.Lock()
	known := p.outage[err.Error()] || len(p.outage) >= mostReasons
	if !quiet && !known {
		p.outage[err.Error()] = true
	}
	if p.status.Connected || p.status.Since.IsZero() {
		p.status.Since = time.Now()
	}
	p.status.Connected, p.status.Server = false, ""
	p.conn = err
	p.mu.Unlock()
	if !quiet && !known {
		p.opts.Log.Warn("nats_disconnected", zap.Error(err))
	}
}

// failed takes the errors that come apart from any call. A forbidden publication is one: to the caller it only times
// out.
func (p *Publisher) failed(err error) {
	denial := Denied(err)
	if denial == nil {
		p.opts.Log.Warn("nats_error", zap.Error(err))
		return
	}
	err = denial
	p.mu.Lock()
	known := p.denials[err.Error()] != nil
	p.denials[err.Error()] = err
	p.send = err
	p.mu.Unlock()
	if !known {
		p.opts.Log.Warn("nats_permission_denied", zap.Error(err))
	}
}
