package hub

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/notify/fleet"
)

const (
	// saveEvery is the least time from one save to the next. What comes meanwhile goes with the next one.
	saveEvery = 100 * time.Millisecond
	// busySave is the same where much has to be saved, as long as that takes less than half of it.
	busySave = 250 * time.Millisecond
	// tickEvery is how often the fleet's timers are looked at, at least.
	tickEvery = 250 * time.Millisecond
	// recountEvery is the least time between two looks at the last states of all hosts, where some were passed over.
	recountEvery = 10 * time.Second
	// sweepEvery is how often marks of deleted keys are looked at, and markAge how old they get.
	sweepEvery = time.Hour
	markAge    = 24 * time.Hour
	// lastSave is how long a hub that ends may take to save what it has.
	lastSave = 2 * time.Second
)

// leading is one term of this hub as the leader. All but the store belongs to the goroutine of loop; the fleet and the
// control are read under the hub's mutex by others, and changed under it.
type leading struct {
	h       *Hub
	log     *zap.Logger
	lease   lease
	store   *store
	fleet   *fleet.Fleet
	control *control
	deleted map[string]time.Time
	// foreign are keys that are written over, since something lies there that no hub wrote.
	foreign map[string]bool
	queues  *queues
	orders  *orders
	outbox  *outbox

	// batches has no room: the receiver collects while the loop is busy.
	batches chan Batch
	// outcomes has room for what the senders tell while the loop is busy; they wait where it is full.
	outcomes chan delivered
	// writes has no room: it takes a save when none is under way. stored has room for one, the outcome of that.
	writes chan []entry
	stored chan error

	// unsaved are batches that were folded since the last save began, inSave those that it covers.
	unsaved, inSave []Batch
	// replies wait for a save, as the batches do.
	replies, inSaveReplies []func()
	// due are the pages that the save under way makes sure of.
	due []fleet.Page
	// submitted are the pages that a sender has.
	submitted map[string]*sender
	saving    bool
	// changed is true where something may have become dirty since the last save began.
	changed bool
	// recounted is when the last states of all hosts were looked at.
	recounted time.Time
	// notBefore is when the next save may begin.
	notBefore time.Time
}

func (h *Hub) newLeading(p *picture, st *store) *leading {
	return &leading{
		h: h, log: h.o.Log, store: st, fleet: p.fleet, control: &p.control, deleted: p.deleted, foreign: p.foreign,
		lease:   lease{Hub: h.o.Name, ID: h.id, Term: p.lease.Term + 1, Version: h.o.Version},
		batches: make(chan Batch), outcomes: make(chan delivered, 256), writes: make(chan []entry), stored: make(chan error, 1),
		submitted: map[string]*sender{}, changed: true, outbox: newOutbox(h.o.Conn, h.o.Log),
	}
}

// lead runs a term until it is over. Everything of it ends before lead returns: the queues too, so that no page leaves this
// hub once another leads.
func (h *Hub) lead(ctx context.Context, l *leading) error {
	defer l.giveBack()
	g, within := errgroup.WithContext(ctx)
	defer context.AfterFunc(within, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.leading = nil
	})()
	l.queues = newQueues(within, l)
	defer l.queues.wait()
	l.orders = newOrders(l)
	stop, err := l.listen(within)
	if err != nil {
		return err
	}
	defer stop()
	l.takeOver()
	g.Go(func() error { return l.keepLease(within) })
	g.Go(func() error { return l.watchLease(within) })
	g.Go(func() error {
		r := Receiver{Conn: h.o.Conn, Log: l.log, Take: func(b Batch) error {
			select {
			case l.batches <- b:
			case <-within.Done():
				b.Return()
			}
			return nil
		}}
		return r.Run(within)
	})
	g.Go(func() error { return l.sweep(within) })
	g.Go(func() error { return l.write(within) })
	g.Go(func() error { return l.outbox.run(within) })
	g.Go(func() error { return l.loop(within) })
	err = g.Wait()
	if ctx.Err() != nil {
		return l.finish()
	}
	return err
}

// takeOver makes the picture the one that is shown and led, and tells it what this hub has seen of the hosts meanwhile.
func (l *leading) takeOver() {
	now := time.Now()
	h := l.h
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fleet, h.control, h.leader, h.leading, h.problem = l.fleet, l.control, l.lease, l, ""
	l.fleet.Configure(h.set.Fleet)
	h.listening(now)
	if r := l.control.Released; r != nil {
		l.fleet.Release(r.Budget, r.Until)
	}
	h.hosts.each(func(s hostState, seen time.Time) { l.fleet.Seen(s.short(seen), now) })
	l.queues.keep(l.fleet, nil)
	h.revision++
	h.markAll()
	h.ready()
}

func (s hostState) short(seen time.Time) fleet.HostSeen {
	return fleet.HostSeen{
		Site: s.Site, Host: s.Host, Version: s.Version, At: seen, Made: s.At, Mode: s.Mode,
		Fill: s.fill(), Count: s.Count, Max: s.Max, Incidents: s.Incidents, Listed: s.Listed,
	}
}

// loop is the one goroutine that changes the fleet.
func (l *leading) loop(ctx context.Context) error {
	tick := time.NewTicker(saveEvery / 2)
	defer tick.Stop()
	var ticked time.Time
	for {
		l.h.moved()
		if err := l.save(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case b := <-l.batches:
			l.fold(b)
		case err := <-l.stored:
			if err := l.afterSave(err); err != nil {
				return err
			}
		case s := <-l.h.seen:
			l.seen(s)
		case d := <-l.outcomes:
			l.delivered(d)
		case r := <-l.h.asked:
			l.answer(r)
		case a := <-l.orders.answers:
			l.orders.heard(a)
		case u := <-l.outbox.failed:
			l.h.mu.Lock()
			l.orders.unsent(u)
			l.h.mu.Unlock()
		case <-l.h.reconfigured:
			l.reconfigure()
		case <-tick.C:
			if time.Since(ticked) >= tickEvery {
				ticked = time.Now()
				l.tick(ticked)
			}
		}
	}
}

// fold takes a batch into the picture.
func (l *leading) fold(b Batch) {
	now := time.Now()
	for some := range slices.Chunk(b.Events, foldTurn) {
		l.foldSome(some, now)
	}
	l.h.mu.Lock()
	l.fleet.Tick(now)
	l.h.revision++
	l.h.mu.Unlock()
	l.unsaved = append(l.unsaved, b)
	l.changed = true
}

// foldTurn is how many events are folded before the page has its turn.
const foldTurn = 256

func (l *leading) foldSome(events []Delivery, now time.Time) {
	h := l.h
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range events {
		if d.Again {
			h.tally.again++
		}
		l.fleet.Take(fleet.Event{Site: d.Site, Host: d.Host, Version: d.Version, Event: d.Event}, now)
	}
	h.tally.events += uint64(len(events))
	h.revision++
	h.markHosts(events)
}

// seen takes a host's state, and those that have come behind it.
func (l *leading) seen(s hostState) {
	now := time.Now()
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	for range len(l.h.seen) + 1 {
		l.fleet.Seen(s.short(s.heard), now)
		l.orders.reconcile(s, now)
		select {
		case s = <-l.h.seen:
		default:
			l.changed = true
			return
		}
	}
	l.changed = true
}

// tick has the fleet look at its timers, and carries out what it wants by itself.
func (l *leading) tick(now time.Time) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	if now.Sub(l.recounted) >= recountEvery && l.h.missed.Swap(false) {
		l.recounted = now
		l.h.hosts.each(func(s hostState, seen time.Time) { l.fleet.Seen(s.short(seen), now) })
	}
	l.h.listening(now)
	l.fleet.Tick(now)
	l.orders.tick(now)
	l.changed = true
	if l.h.markChanged() {
		l.h.revision++
	}
}

// reconfigure has the senders follow the settings. One that is new is told what its name was told of before.
func (l *leading) reconfigure() {
	added := l.queues.configure(l.h.settings().Senders)
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	l.queues.keep(l.fleet, added)
	l.changed = true
}

// giveBack gives the events back that were not saved.
func (l *leading) giveBack() {
	for _, b := range append(l.inSave, l.unsaved...) {
		b.Return()
	}
	l.inSave, l.unsaved = nil, nil
}

// finish saves what there is, acknowledges it, and gives the lease back. What the senders are about to deliver is waited for.
func (l *leading) finish() error {
	l.queues.wait()
	for len(l.outcomes) > 0 {
		l.delivered(<-l.outcomes)
	}
	if l.saving {
		if err := <-l.stored; err != nil {
			return nil
		}
		l.settle()
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastSave)
	defer cancel()
	entries, _, err := l.snapshot(time.Now())
	if err == nil && l.holds() {
		err = l.store.write(ctx, append(entries, lease{Term: l.lease.Term}.entry(time.Now())))
	}
	if err != nil {
		l.log.Warn("not_saved_at_the_end", zap.Error(err))
		return nil
	}
	l.inSave, l.unsaved = l.unsaved, nil
	l.settle()
	return nil
}

// sweep removes the marks of keys that were deleted long ago, until ctx is done. A hub that stands by has seen them by then.
func (l *leading) sweep(ctx context.Context) error {
	return every(ctx, sweepEvery, func() error {
		s, err := l.h.js.Stream(ctx, "KV_"+FleetBucket)
		for _, key := range l.deletedBefore(time.Now().Add(-markAge)) {
			if err == nil {
				err = s.Purge(ctx, jetstream.WithPurgeSubject(l.store.prefix+key))
			}
		}
		if err != nil && ctx.Err() == nil {
			l.log.Warn("deleted_keys_not_swept", zap.Error(err))
		}
		return nil
	})
}

// deletedBefore takes the keys that were deleted before that time off the list.
func (l *leading) deletedBefore(before time.Time) (keys []string) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	for key, at := range l.deleted {
		if at.Before(before) {
			keys = append(keys, key)
			delete(l.deleted, key)
		}
	}
	return keys
}

// listen subscribes to what users ask of the leader and to what hosts answer.
func (l *leading) listen(ctx context.Context) (stop func(), err error) {
	asks, err := l.h.o.Conn.Subscribe(DoSubject, func(m *nats.Msg) { l.take(ctx, m) })
	if err != nil {
		return nil, err
	}
	answers, err := l.orders.listen(ctx)
	if err != nil {
		return nil, errors.Join(err, asks.Unsubscribe())
	}
	return func() {
		_, _ = asks.Unsubscribe(), answers.Unsubscribe()
	}, nil
}
