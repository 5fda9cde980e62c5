package hub

import (
	"context"
	"errors"
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
	// all is changed by the loop alone, under the hub's mutex, since others read it for the page.
	all map[string]*sender
	g   *errgroup.Group
}

// sender is one queue that runs.
type sender struct {
	*oncall.Queue
	config oncall.Config
	stop   context.CancelFunc
}

// delivered is what became of a page.
type delivered struct {
	page string
	fleet.Delivery
	pageResult
}

// pageResult is what pages are counted by.
type pageResult struct {
	sender string
	result oncall.Result
}

func newQueues(ctx context.Context, h *Hub, outcomes chan<- delivered) *queues {
	q := &queues{ctx: ctx, h: h, outcomes: outcomes, all: map[string]*sender{}, g: &errgroup.Group{}}
	q.configure(h.settings().Senders)
	return q
}

// configure starts the queues of new senders and ends those of senders that are gone or changed. What waits in them is due
// still: it is submitted again where a sender of its name is there.
func (q *queues) configure(senders []oncall.Config) (ended []string) {
	q.h.mu.Lock()
	defer q.h.mu.Unlock()
	for name, s := range q.all {
		same := func(c oncall.Config) bool { return c.Name == name && reflect.DeepEqual(c, s.config) }
		if !slices.ContainsFunc(senders, same) {
			s.stop()
			delete(q.all, name)
			ended = append(ended, name)
		}
	}
	for _, c := range senders {
		if q.all[c.Name] == nil {
			q.start(c)
		}
	}
	return ended
}

func (q *queues) start(c oncall.Config) {
	queue, err := oncall.Open(c, oncall.Options{Program: "ctwarden-hub/" + q.h.o.Version}, q.h.o.Log)
	if err != nil {
		q.h.o.Log.Error("sender_unusable", zap.String("sender", c.Name), zap.Error(err))
		return
	}
	ctx, cancel := context.WithCancel(q.ctx)
	q.all[c.Name] = &sender{queue, c, cancel}
	q.g.Go(func() error { return queue.Run(ctx) })
}

// keep has senders to a place that forgets tell again what was told in another term. The caller has the hub's mutex.
func (q *queues) keep(f *fleet.Fleet) {
	for _, p := range f.Told() {
		if s := q.all[p.To]; s != nil {
			if err := s.Keep(p.Notification); err != nil {
				q.h.o.Log.Warn("page_not_repeated", zap.String("sender", p.To), zap.Error(err))
			}
		}
	}
}

// wait returns when no queue sends any more, which is after their context is done, and an attempt that is under way.
func (q *queues) wait() { _ = q.g.Wait() }

// submit hands a page to its sender. A page that no sender takes has its outcome at once. Neither is where the sender has
// enough to do: the page stays due.
func (q *queues) submit(p fleet.Page) (taken bool, dead *delivered) {
	s := q.all[p.To]
	if s == nil {
		return false, ending(p, oncall.Outcome{Result: oncall.ResultDead, At: time.Now(), Err: "no sender of the name " + p.To + " is configured"})
	}
	switch err := s.Submit(p.Notification, func(o oncall.Outcome) { q.tell(p, o) }); {
	case errors.Is(err, oncall.ErrFull):
		return false, nil
	case err != nil:
		return false, ending(p, oncall.Outcome{Result: oncall.ResultDead, At: time.Now(), Err: err.Error()})
	}
	return true, nil
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
