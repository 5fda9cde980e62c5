package hub

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/oncall"
)

// StageSaved is the stage at which [Options.Fail] is called: pages are saved as due, and not handed to a sender.
const StageSaved = "saved"

// Options are what a hub needs.
type Options struct {
	// Conn is the connection to NATS. Whoever opened it closes it, after Run, and tells the hub of its losses by
	// [Hub.Connected].
	Conn *nats.Conn
	Log  *zap.Logger
	// Name is what the other hubs and people call this one, such as the host's name.
	Name    string
	Version string
	// Settings are what [Hub.Configure] can change.
	Settings Settings
	// Print gets each event once that this hub took as the leader and saved; nil: nobody wants them. It is called from one
	// goroutine and may block: some thousand events wait for it, more are left out and counted. Its error ends Run.
	Print func(r notify.Received, raw []byte) error
	// Printed is called, from the same goroutine, before events that Print got are acknowledged, so that Print may collect
	// lines until then. Its error ends Run; nil: Print collects nothing.
	Printed func() error
	// Ready is called once, when everything that was saved has been read and there is a leader, from the goroutine of Print; it
	// may be nil.
	Ready func()
	// Fail is called at the stages; it may be nil.
	Fail func(stage string)
}

// Settings are the part of the configuration that can change while the hub runs.
type Settings struct {
	Fleet   fleet.Config
	Senders []oncall.Config
}

// Hub is one of the hubs of a fleet. Any number run; one leads: grouping needs one order of the events. The others read what
// it saves, show it, and take its place when it is gone.
//
// The leader folds events into the fleet's picture, saves what changed, acknowledges, then sends what is due, then saves
// that it was sent. So an event that was not saved comes again, and a page that was saved and not sent is sent by the next
// leader.
type Hub struct {
	o  Options
	id string
	js jetstream.JetStream
	// ready has Ready called, once.
	ready   func()
	hosts   *hosts
	backlog backlog
	// asked has no room: who asks waits until the leader has time.
	asked chan request
	// reconfigured has room for one: a second change adds nothing to the first.
	reconfigured chan struct{}
	printer      *printer
	// alive is when the goroutine that leads or stands by last went on.
	alive atomic.Pointer[time.Time]
	// aside is until when this hub leaves the lease to others. It belongs to the goroutine that leads.
	aside time.Time
	// seen has the host states for the leader. It is full where the leader is busy; then missed is true, and the leader looks
	// at the last state of every host: a busy leader must not take a host for silent.
	seen   chan hostState
	missed atomic.Bool
	// room is how full the bucket of host states is.
	room room
	// watch is how far the bucket of host states was read, hearing what that means.
	watch   watch
	hearing hearing
	// readers bounds how much page readers take of the hub.
	readers readers

	// mu guards what follows, with all that hangs on it.
	mu        sync.Mutex
	set       Settings
	fleet     *fleet.Fleet // the one that is shown; nil: none was read so far
	control   *control
	leader    lease
	leading   *leading // nil: another hub leads
	connected bool
	since     time.Time
	// away is why the connection was lost or cannot be made; it is shown while there is none.
	away     string
	problem  string
	revision uint64
	tally    counters
	summary  summary
	// marked is when the rows were last brought up to what the fleet makes of the hosts.
	marked time.Time
	// swept is when rows of hosts that were forgotten were last looked for.
	swept time.Time
}

// counters are since the start of this hub.
type counters struct {
	events uint64
	again  uint64 // of these, those that the stream has delivered before
	// foreign are values in the bucket that no hub wrote.
	foreign uint64
	// unprinted are events that Print did not get, since it was too slow.
	unprinted uint64
	pages     map[pageResult]uint64
}

// New makes a hub. It does no I/O.
func New(o Options) (*Hub, error) {
	js, err := jetstream.New(o.Conn)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	if o.Fail == nil {
		o.Fail = func(string) {}
	}
	h := &Hub{
		o: o, js: js, id: rand.Text(), hosts: newHosts(), set: o.Settings, connected: o.Conn.IsConnected(), since: time.Now(),
		asked: make(chan request), reconfigured: make(chan struct{}, 1), seen: make(chan hostState, 1024), readers: readers{details: make(chan struct{}, maxDetails)},
		tally: counters{pages: map[pageResult]uint64{}},
	}
	h.printer = newPrinter(h)
	h.moved()
	h.ready = sync.OnceFunc(func() { close(h.printer.ready) })
	return h, nil
}

// Run takes part until ctx is done, then returns nil: a leader saves what it has and gives the lease back first. It waits for
// NATS, and fails at once where streams or buckets are missing there, and when Print does. It outlasts every loss of the
// connection.
func (h *Hub) Run(ctx context.Context) error {
	if err := h.await(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	h.begins()
	go h.printer.run() // in no group: a write to a terminal that is stopped has no end
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return h.watchHosts(ctx) })
	g.Go(func() error { return h.askBacklog(ctx) })
	g.Go(func() error {
		select {
		case <-h.printer.done:
			return h.printer.err
		case <-ctx.Done():
			return nil
		}
	})
	g.Go(func() error {
		for ctx.Err() == nil {
			h.moved()
			if err := h.turn(ctx); err != nil && ctx.Err() == nil {
				h.note(err)
				pause(ctx, rest)
			}
		}
		return nil
	})
	err := g.Wait()
	return cmp.Or(err, h.printer.end())
}

// moved notes a sign of life.
func (h *Hub) moved() {
	now := time.Now()
	h.alive.Store(&now)
}

// Moves tells whether this hub did anything within that time: a hub that does not hangs, and should be ended.
func (h *Hub) Moves(within time.Duration) bool { return time.Since(*h.alive.Load()) < within }

// turn stands by until this hub leads, and leads until it does not.
func (h *Hub) turn(ctx context.Context) error {
	l, err := h.standBy(ctx)
	if l == nil {
		return err
	}
	h.o.Log.Info("hub_leads", zap.Uint64("term", l.lease.Term))
	err = h.lead(ctx, l)
	h.mu.Lock()
	h.leading = nil
	h.mu.Unlock()
	if err == nil && ctx.Err() == nil {
		err = errLeaseLost
	}
	if !errors.Is(err, errOvertaken) {
		// What made this hub fail may last; another one may be better off.
		h.aside = time.Now().Add(asideTime)
	}
	return err
}

// await returns when all is there that init makes, or fails where it is not. That nobody answers is waited out, and said.
func (h *Hub) await(ctx context.Context) error {
	for ctx.Err() == nil {
		h.moved()
		err := errNotConnected
		if h.o.Conn.IsConnected() {
			err = h.check(ctx)
		}
		var lacks *setupError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &lacks):
			return err
		case ctx.Err() == nil:
			h.note(err)
			pause(ctx, rest)
		}
	}
	return nil
}

// errNotConnected is why a hub does nothing before it has reached a server.
var errNotConnected = errors.New("no NATS server lets this hub in so far; it is waited for")

// setupError says that something is missing that init makes. Time does not mend it.
type setupError struct{ err error }

func (e *setupError) Error() string { return e.err.Error() }
func (e *setupError) Unwrap() error { return e.err }

// check looks for what makes a start useless: what is missing is to be told, not waited for.
func (h *Hub) check(ctx context.Context) error {
	start, cancel := context.WithTimeout(ctx, attach)
	defer cancel()
	for _, name := range []string{notify.StreamName, "KV_" + notify.HostsBucket, "KV_" + FleetBucket} {
		s, err := h.js.Stream(start, name)
		if err == nil && name == "KV_"+FleetBucket {
			if _, err := prefixOf(s); err != nil {
				return &setupError{err}
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
		case errors.Is(err, jetstream.ErrStreamNotFound) && name == notify.StreamName:
			return &setupError{fmt.Errorf("%w: %w", notify.ErrNoStream, err)}
		case errors.Is(err, jetstream.ErrStreamNotFound):
			return missing("bucket", name, err)
		default:
			return unavailable("read the stream "+name, err)
		}
	}
	_, err := h.js.Consumer(start, notify.StreamName, Consumer)
	switch {
	case err == nil || ctx.Err() != nil:
		return nil
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return missing("consumer", Consumer, err)
	}
	return unavailable("read the stream "+notify.StreamName, err)
}

// missing says what init makes.
func missing(what, name string, err error) error {
	return &setupError{fmt.Errorf("%w: the %s %s is missing; run ctwarden-hub init --server URL: %w", notify.ErrUnavailable, what, name, err)}
}

// note keeps and logs why this hub takes no part at the moment.
func (h *Hub) note(err error) {
	h.mu.Lock()
	news := h.problem != err.Error()
	h.problem = err.Error()
	h.mu.Unlock()
	if news {
		h.o.Log.Warn("hub_stands_aside", zap.Error(err))
	}
}

// Connected tells the hub that the connection was lost or made. While it is away nobody is silent: it is this hub that
// hears nothing.
func (h *Hub) Connected(is bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	h.connected, h.since = is, now
	if is {
		h.away = ""
		h.hearing.upTo, h.hearing.why = now, nil
	}
	h.listening(now)
}

// Away tells the hub why the connection was lost, or why it does not come about. Other errors of a connection it passes over.
func (h *Hub) Away(why error) {
	if notify.ProblemOf(why) == notify.ProblemOther {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.away = why.Error()
}

// Configure replaces the settings. What is under way goes on with them.
func (h *Hub) Configure(s Settings) {
	h.mu.Lock()
	h.set = s
	if h.fleet != nil {
		h.fleet.Configure(s.Fleet)
		h.markAll() // labels
	}
	h.mu.Unlock()
	select {
	case h.reconfigured <- struct{}{}:
	default:
	}
}

func (h *Hub) settings() Settings {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.set
}

// show makes a complete picture the one that is shown.
func (h *Hub) show(p *picture) {
	p.complete = true
	if p.older > 0 {
		h.o.Log.Warn("older_picture_not_followed", zap.Int("values", p.older),
			zap.String("meaning", "the bucket was of an older version, to which hosts could write: what it held of incidents, silences and orders is learned anew"))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fleet, h.control, h.leader, h.problem = p.fleet, &p.control, p.lease.lease, ""
	h.fleet.Configure(h.set.Fleet)
	h.revision++
	h.markAll()
}

// changed notes that a key of the picture that is shown has a new value.
func (h *Hub) changed(p *picture, key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leader = p.lease.lease
	if key == leaseKey {
		if h.leader.ID != "" {
			h.ready()
		}
		return
	}
	h.revision++
	h.markChanged()
}

// hostSeen takes a host's state from the bucket.
func (h *Hub) hostSeen(s hostState, at time.Time) {
	h.hosts.see(s, at)
	h.mu.Lock()
	leads := h.leading != nil
	h.mu.Unlock()
	if !leads {
		return
	}
	s.heard = at
	select {
	case h.seen <- s:
	default:
		h.missed.Store(true)
	}
}
