package hub

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/oncall"
)

// queues are the on-call senders of one term.
type queues struct {
	ctx      context.Context
	h        *Hub
	outcomes chan<- delivered
	// leads tells whether this hub still may send.
	leads func() bool
	// all is changed by the loop alone, under the hub's mutex, since others read it for the page.
	all map[string]*sender
	g   *errgroup.Group
}

// sender is one queue that runs.
type sender struct {
	*oncall.Queue
	config oncall.Config
	stop   context.CancelFunc
	// ended is closed when it sends no more and has told all that it has to tell.
	ended chan struct{}
}

// delivered is what became of a page.
type delivered struct {
	// ended is a sender that tells no more; nil: it is a page.
	ended *sender
	page  string
	fleet.Delivery
	pageResult
}

// pageResult is what pages are counted by.
type pageResult struct {
	sender string
	result oncall.Result
}

func newQueues(ctx context.Context, l *leading) *queues {
	q := &queues{ctx: ctx, h: l.h, outcomes: l.outcomes, leads: l.holds, all: map[string]*sender{}, g: &errgroup.Group{}}
	q.configure(l.h.settings().Senders)
	return q
}

// configure starts the queues of new senders and ends those of senders that are gone or changed. What waits in one that
// ends is due again once it has ended: until then it may still get through. It returns the names that were not there.
func (q *queues) configure(senders []oncall.Config) (added []string) {
	q.h.mu.Lock()
	defer q.h.mu.Unlock()
	before := maps.Clone(q.all)
	for name, s := range before {
		same := func(c oncall.Config) bool { return c.Name == name && reflect.DeepEqual(c, s.config) }
		if !slices.ContainsFunc(senders, same) {
			s.stop()
			delete(q.all, name)
		}
	}
	for _, c := range senders {
		if q.all[c.Name] == nil {
			q.start(c, before[c.Name])
		}
		if before[c.Name] == nil {
			added = append(added, c.Name)
		}
	}
	return added
}

// start begins a queue, once the one whose place it takes has ended: it goes on with what that has told.
func (q *queues) start(c oncall.Config, old *sender) {
	queue, err := oncall.Open(c, oncall.Options{Program: "ctwarden-hub/" + q.h.o.Version, May: q.leads}, q.h.o.Log)
	if err != nil {
		q.h.o.Log.Error("sender_unusable", zap.String("sender", c.Name), zap.Error(err))
		return
	}
	ctx, cancel := context.WithCancel(q.ctx)
	s := &sender{queue, c, cancel, make(chan struct{})}
	q.all[c.Name] = s
	q.g.Go(func() error {
		defer close(s.ended)
		if old != nil {
			<-old.ended // two seconds at most (oncall.Queue.Run)
			for _, n := range old.Open() {
				q.kept(s, n)
			}
		}
		err := queue.Run(ctx)
		select {
		case q.outcomes <- delivered{ended: s}:
		case <-q.ctx.Done():
		}
		return err
	})
}

func (q *queues) kept(s *sender, n oncall.Notification) {
	if err := s.Keep(n); err != nil {
		q.h.o.Log.Warn("page_not_repeated", zap.String("sender", s.config.Name), zap.Error(err))
	}
}

// keep has senders to a place that forgets tell again what was told in another term, those of the names, nil: all. The
// caller has the hub's mutex.
func (q *queues) keep(f *fleet.Fleet, names []string) {
	for _, p := range f.Told() {
		if s := q.all[p.To]; s != nil && (names == nil || slices.Contains(names, p.To)) {
			q.kept(s, p.Notification)
		}
	}
}

// wait returns when no queue sends any more, which is after their context is done, and an attempt that is under way.
func (q *queues) wait() { _ = q.g.Wait() }

// submit hands a page to its sender. A page that no sender takes has its outcome at once. Neither is where the sender has
// enough to do: the page stays due.
func (q *queues) submit(p fleet.Page) (taken *sender, dead *delivered) {
	s := q.all[p.To]
	if s == nil {
		return nil, ending(p, oncall.Outcome{Result: oncall.ResultDead, At: time.Now(), Err: "no sender of the name " + p.To + " is configured"})
	}
	switch err := s.Submit(p.Notification, func(o oncall.Outcome) { q.tell(p, o) }); {
	case errors.Is(err, oncall.ErrFull):
		return nil, nil
	case err != nil:
		return nil, ending(p, oncall.Outcome{Result: oncall.ResultDead, At: time.Now(), Err: err.Error()})
	}
	return s, nil
}

// ending is an outcome as the fleet wants it.
func ending(p fleet.Page, o oncall.Outcome) *delivered {
	return &delivered{page: p.ID, pageResult: pageResult{p.To, o.Result}, Delivery: fleet.Delivery{
		At: o.At, Attempts: o.Attempts, Err: o.Err, Dead: o.Result == oncall.ResultDead, Replaced: o.Result == oncall.ResultReplaced,
	}}
}

// tell gives an outcome to the loop. Where the term is over, and the loop takes no more than it has room for, the next
// leader sends the page again.
func (q *queues) tell(p fleet.Page, o oncall.Outcome) {
	d := *ending(p, o)
	select {
	case q.outcomes <- d:
		return
	default:
	}
	select {
	case q.outcomes <- d:
	case <-q.ctx.Done():
	}
}
