package simulate

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// readEvery is how often each host's table is read, and slots how many parts of that time there are, so that not all
	// hosts are read at once.
	readEvery = time.Second
	slots     = 20
	// lastWords is how long the goodbyes may take, besides what the rate makes of them.
	lastWords = 10 * time.Second
	// settleEvery is how often it is looked whether all was acknowledged.
	settleEvery = 20 * time.Millisecond
)

// ErrNotAcknowledged says that the simulation ended before the stream had every event.
var ErrNotAcknowledged = errors.New("not acknowledged by the stream")

// simulation is one run.
type simulation struct {
	o       Options
	tally   *tally
	hosts   []*host
	senders []*sender
}

// Run simulates the fleet until every incident has closed, or ctx is done, and has the hosts say goodbye. The report is valid
// also beside an error, which is [Options.Check]'s, Connect's, or wraps [ErrNotAcknowledged].
func Run(ctx context.Context, o Options) (Report, error) {
	if err := o.Check(); err != nil {
		return Report{}, err
	}
	now := time.Now()
	s := &simulation{o: o, tally: newTally(o, now)}
	hangUp, err := s.connect()
	defer hangUp()
	if err != nil {
		return s.tally.report(time.Now(), true), err
	}
	for i := range o.Hosts {
		s.hosts = append(s.hosts, newHost(i, o.Sites, o, now))
	}
	// The senders outlast ctx, for the goodbyes.
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, sending := errgroup.WithContext(sending)
	for _, one := range s.senders {
		g.Go(func() error { return one.run(sending) })
	}
	g.Go(func() error { return s.progress(sending) })
	err = s.play(ctx)
	s.goodbye()
	stop()
	err = errors.Join(err, g.Wait())
	s.tally.phase("done", time.Now())
	r := s.tally.report(time.Now(), true)
	if o.Progress != nil {
		o.Progress(r)
	}
	if err == nil && r.NotAcknowledged > 0 {
		err = fmt.Errorf("%d of %d events: %w: %s", r.NotAcknowledged, r.Published, ErrNotAcknowledged, r.Problem)
	}
	return r, err
}

// connect makes the connections; what was made of them is closed by hangUp, also beside an error.
func (s *simulation) connect() (hangUp func(), err error) {
	var closers []func()
	hangUp = func() {
		for _, c := range closers {
			c()
		}
	}
	var limit *rate.Limiter
	if s.o.Rate > 0 {
		limit = rate.NewLimiter(rate.Limit(s.o.Rate), max(s.o.Rate/20, 1))
	}
	for range s.o.Connections {
		nc, err := s.o.Connect()
		if err != nil {
			return hangUp, fmt.Errorf("connection %d of %d: %w", len(closers)+1, s.o.Connections, err)
		}
		closers = append(closers, nc.Close)
		one, err := newSender(nc, s.tally, limit)
		if err != nil {
			return hangUp, err
		}
		s.senders = append(s.senders, one)
	}
	return hangUp, nil
}

// play goes from the hello to the last incident's end.
func (s *simulation) play(ctx context.Context) error {
	if err := s.each(func(i int, h *host) error {
		now := time.Now()
		h.table.read(now)
		if err := s.publish(i, h, []remediate.Event{h.hello(now)}); err != nil {
			return err
		}
		return s.share(i, h, now)
	}); err != nil {
		return err
	}
	if !s.settle(ctx) {
		return nil
	}
	// Each host is read once before its table fills: what counters rise by shows from the second reading on.
	now := time.Now()
	s.tally.phase("storm", now.Add(readEvery))
	spread := max(s.o.Within-readEvery, 0) // a full table shows with the next reading
	for i, h := range s.hosts {
		h.table.fills = now.Add(readEvery + spread*time.Duration(i)/time.Duration(len(s.hosts)))
	}
	within, stop := context.WithCancel(ctx)
	defer stop()
	g, within := errgroup.WithContext(within)
	n := min(runtime.GOMAXPROCS(0), len(s.hosts))
	for first := range n {
		g.Go(func() error { return s.drive(within, first, n) })
	}
	g.Go(func() error {
		defer stop()
		s.until(within, s.tally.closedAll)
		return nil
	})
	return g.Wait()
}

// drive reads every n-th host from the first on, each once in readEvery, until ctx is done.
func (s *simulation) drive(ctx context.Context, first, n int) error {
	tick := time.NewTicker(readEvery / slots)
	defer tick.Stop()
	last := time.Now()
	for slot := 0; ; slot = (slot + 1) % slots {
		if slot == 0 {
			s.tally.unread(time.Since(last))
			last = time.Now()
		}
		for i := first + slot*n; i < len(s.hosts); i += n * slots {
			if err := s.look(i); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look has one host read its table, and sends what comes of it.
func (s *simulation) look(i int) error {
	h, now := s.hosts[i], time.Now()
	opened, closed := h.opened, h.closed
	events := h.look(now)
	if len(events) > 0 {
		if err := s.publish(i, h, events); err != nil {
			return err
		}
		s.tally.incident(!opened && h.opened, !closed && h.closed)
	}
	return s.share(i, h, now)
}

func (s *simulation) publish(i int, h *host, events []remediate.Event) error {
	all := make([]message, 0, len(events))
	for _, ev := range events {
		out, err := notify.Encode(h.id, ev)
		if err != nil {
			return err
		}
		all = append(all, eventMessage(out))
	}
	s.tally.happened(len(all))
	s.senders[i%len(s.senders)].add(all...)
	return nil
}

func (s *simulation) share(i int, h *host, now time.Time) error {
	body, err := h.share(now)
	if err == nil && body != nil {
		s.senders[i%len(s.senders)].add(stateMessage(h.id, body))
	}
	return err
}

// each calls fn for every host.
func (s *simulation) each(fn func(i int, h *host) error) error {
	for i, h := range s.hosts {
		if err := fn(i, h); err != nil {
			return err
		}
	}
	return nil
}

// goodbye ends the fleet as agents end, in order, and waits for the stream to have all of it.
func (s *simulation) goodbye() {
	s.tally.phase("goodbye", time.Now())
	now := time.Now()
	// An event of a known type always encodes.
	_ = s.each(func(i int, h *host) error { return s.publish(i, h, []remediate.Event{h.goodbye(now)}) })
	patience := lastWords
	if s.o.Rate > 0 {
		patience += time.Duration(len(s.hosts)/s.o.Rate+1) * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.settle(ctx)
}

// settle waits until every event was acknowledged; false: ctx was done before.
func (s *simulation) settle(ctx context.Context) bool { return s.until(ctx, s.tally.settled) }

func (s *simulation) until(ctx context.Context, done func() bool) bool {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return done()
		case <-tick.C:
		}
	}
	return true
}

// progress reports once a second.
func (s *simulation) progress(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if s.o.Progress != nil {
				s.o.Progress(s.tally.report(time.Now(), false))
			}
		}
	}
}
