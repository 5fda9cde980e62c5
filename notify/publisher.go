package notify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// The bounds of publishing.
const (
	// window is how many events may be on their way without an acknowledgement, and leastWindow how few they are down to
	// where the server does not take them (loop.resize).
	window      = 256
	leastWindow = 8
	// ackTimeout is how long an acknowledgement may take.
	ackTimeout = 5 * time.Second
	// drainJitter is the longest wait, chosen at random, before the outbox drains after a reconnect.
	drainJitter = 4 * time.Second
	// firstRetry and lastRetry bound the wait after a publication that failed.
	firstRetry = 500 * time.Millisecond
	lastRetry  = 10 * time.Second
	// flushTime is how long Run goes on publishing once it is told to stop.
	flushTime = 2 * time.Second
	// mostReasons bounds how many reasons of one outage are logged, and how many events passed over.
	mostReasons = 16
	// passFor is how long an event that the server does not take is passed over before it is tried again.
	passFor = time.Minute
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
	// Order carries out one order of the fleet, or takes why the document that came is none. It fills in the answer's Rev,
	// Done, Reason and Text. It is called from one goroutine, and returns when ctx is done at the latest. nil: this host
	// does not listen.
	Order func(ctx context.Context, c Command, broken error) Answer
}

// Publisher sends the outbox to JetStream, in order, and keeps the host's state there.
//
// Order holds but for an event that the server refuses while it takes its successors. An event is removed from the
// outbox after its acknowledgement only; it may therefore arrive twice, under the same id. One that is larger than
// the server takes stays in the outbox and is passed over, until the next connection or for a minute.
type Publisher struct {
	opts      PublisherOptions
	explainer *Explainer
	// wake has room for one: a second wish to look at the outbox adds nothing to the first.
	wake chan struct{}
	// orders has room for orderRoom; what comes while it is full is dropped. It is never closed.
	orders chan *nats.Msg

	mu     sync.Mutex
	nc     *nats.Conn
	js     jetstream.JetStream
	status Status
	// denials are the permissions violations of this connection, by their text, which names the subject. They explain
	// timeouts.
	denials map[string]error
	// outage has why the servers could not be reached since the connection was lost, so that each reason is logged once.
	outage map[string]bool
	// conn, send, large and host are what is wrong with the connection, with publishing, with events passed over and with
	// the host's state.
	conn, send, large, host error
	// order is why the fleet's orders do not come through, ordersTold which of that was logged.
	order      error
	ordersTold map[string]bool
	// drainFrom is when the outbox may drain after a reconnect.
	drainFrom time.Time
	// epoch counts the connections. passed holds the events passed over in this one, true until passedUntil: then they are
	// tried again.
	epoch       int
	passed      map[uint64]bool
	passedUntil time.Time
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
	// Problem is the word for why something does not get through, and Error says it with what to do; both are empty when
	// all is well.
	Problem Problem
	Error   string
	// Orders says why the fleet's orders do not come through; empty: they do as far as is known, or this host does not
	// listen.
	Orders string
}

// NewPublisher checks the options. Whether a server answers, and whether the files that the connection needs can be used,
// is found out by Run, which notes it and tries again: the host is looked after all the same.
func NewPublisher(opts PublisherOptions) (*Publisher, error) {
	if err := opts.Dial.checkWords(); err != nil {
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
	return &Publisher{opts: opts, explainer: &Explainer{Dial: opts.Dial}, wake: make(chan struct{}, 1), orders: make(chan *nats.Msg, orderRoom),
		ordersTold: map[string]bool{}, denials: map[string]error{}, outage: map[string]bool{},
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
	for _, err := range []error{p.conn, p.send, p.large, p.host} {
		if err != nil {
			s.Problem, s.Error = ProblemOf(err), err.Error()
			break
		}
	}
	if p.order != nil {
		s.Orders = p.order.Error()
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
	l := &loop{p: p, nc: nc, js: js, retry: backoff.NewExponentialBackOff(), timer: time.NewTimer(0), window: window}
	l.retry.InitialInterval, l.retry.MaxInterval = firstRetry, lastRetry
	defer l.timer.Stop()
	var listening errgroup.Group
	listening.Go(func() error {
		p.listen(ctx)
		return nil
	})
	l.run(ctx, sending)
	return listening.Wait()
}

// connect begins the connection, which the library then keeps. What keeps it from even beginning, such as a certificate
// that has gone since NewPublisher looked, is noted, and tried again. It returns nil when ctx is done.
func (p *Publisher) connect(ctx context.Context) (*nats.Conn, jetstream.JetStream) {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = firstRetry, lastRetry
	for {
		nc, js, err := p.begin(ctx)
		if err == nil {
			return nc, js
		}
		p.disconnected(because(ProblemFile, "%w", err))
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(retry.NextBackOff()):
		}
	}
}

func (p *Publisher) begin(ctx context.Context) (*nats.Conn, jetstream.JetStream, error) {
	opts, err := p.options(ctx)
	if err != nil {
		return nil, nil, err
	}
	nc, err := nats.Connect("", opts...)
	if err != nil {
		return nil, nil, err
	}
	p.mu.Lock()
	p.nc = nc
	p.mu.Unlock()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(ackTimeout), jetstream.WithPublishAsyncMaxPending(window))
	err = errors.Join(err, p.subscribe(nc))
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return nc, js, nil
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
	if err == nil && before != nil { // those of events are over, and news where they come again
		maps.DeleteFunc(p.denials, func(text string, _ error) bool { return strings.Contains(text, `"`+SubjectPrefix+".") })
	}
	p.mu.Unlock()
	if err != nil && (before == nil || before.Error() != err.Error()) {
		p.opts.Log.Warn("events_not_published", zap.String("problem", string(ProblemOf(err))), zap.Error(err))
	}
	if err == nil && before != nil {
		p.opts.Log.Info("events_published_again")
	}
}

// options are the connection's, with handlers that keep the status. They run on goroutines of the library.
func (p *Publisher) options(ctx context.Context) ([]nats.Option, error) {
	opts, err := p.opts.Dial.options(ctx)
	return append(opts,
		nats.RetryOnFailedConnect(true),
		nats.LameDuckModeHandler(func(nc *nats.Conn) {
			p.opts.Log.Warn("nats_server_shuts_down", zap.String("server", Redact(nc.ConnectedUrl())))
		}),
		nats.CustomReconnectDelay(func(attempts int) time.Duration {
			p.retrying()
			return reconnectDelay(attempts)
		}),
		nats.ConnectHandler(p.connected),
		nats.ReconnectHandler(p.connected),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { p.disconnected(err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { p.disconnected(err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { p.failed(err) }),
	), err
}

func (p *Publisher) connected(nc *nats.Conn) {
	p.explainer.Connected()
	p.mu.Lock()
	wait := rand.N(drainJitter)
	if p.epoch == 0 && p.conn == nil {
		wait = 0 // the server was there all along, so no fleet is coming back
	}
	p.status.Connected, p.status.Server, p.status.Since = true, Redact(nc.ConnectedUrl()), time.Now()
	p.order = nil
	p.conn, p.large, p.passed, p.denials, p.outage = nil, nil, nil, map[string]error{}, map[string]bool{}
	p.epoch++
	p.drainFrom = time.Now().Add(wait)
	server := p.status.Server
	p.mu.Unlock()
	p.opts.Log.Info("nats_connected", zap.String("server", server), zap.Duration("drain_in", wait))
	p.Wake()
}

// retrying notes why the last attempt failed. The library calls ReconnectErrHandler only where there was no answer at
// all, and keeps a handshake that failed, such as over TLS, to itself.
func (p *Publisher) retrying() {
	p.mu.Lock()
	nc := p.nc
	p.mu.Unlock()
	if nc == nil {
		return
	}
	if err := nc.LastError(); err != nil {
		p.disconnected(err)
	}
}

// disconnected notes that the connection is lost, or that a server could not be reached. Each reason is logged once an
// outage: the servers are tried in turn. That none was left to try, or that this side hung up, is no reason, and leaves
// the one that is known.
func (p *Publisher) disconnected(err error) {
	quiet := err == nil || errors.Is(err, nats.ErrNoServers)
	if err == nil {
		err = because(ProblemClosed, "the connection was closed")
	}
	err = fmt.Errorf("not connected to %s: %w", redacted(p.opts.Dial.Servers), p.explainer.Explain(err))
	p.mu.Lock()
	text := strings.ToLower(err.Error()) // the same refusal comes in two spellings
	known := quiet || p.outage[text] || len(p.outage) >= mostReasons
	if !known {
		p.outage[text] = true
	}
	if p.status.Connected || p.status.Since.IsZero() {
		p.status.Since = time.Now()
	}
	p.status.Connected, p.status.Server = false, ""
	if !quiet || p.conn == nil {
		p.conn = err
	}
	p.mu.Unlock()
	if !known {
		p.opts.Log.Warn("nats_disconnected", zap.String("problem", string(ProblemOf(err))), zap.Error(err))
	}
}

// failed takes the errors that come apart from any call. A forbidden publication is one: to the caller it only times
// out.
func (p *Publisher) failed(err error) {
	if isRefusal(err) {
		p.disconnected(err)
		return
	}
	denial := Denied(err)
	if denial == nil {
		p.opts.Log.Warn("nats_error", zap.Error(err))
		return
	}
	if ofOrders(denial) {
		p.noOrders(denial)
		return
	}
	err = denial
	p.mu.Lock()
	known := p.denials[err.Error()] != nil
	p.denials[err.Error()] = err
	p.send = err
	p.mu.Unlock()
	if !known {
		p.opts.Log.Warn("nats_permission_denied", zap.String("problem", string(ProblemOf(err))), zap.Error(err))
	}
}
