package oncall

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

const (
	// giveUpAfter is how long a notification is tried.
	giveUpAfter = 24 * time.Hour
	// lastAttempt is how long an attempt may still take once Run is told to stop, so that what is on its way arrives once.
	lastAttempt = 2 * time.Second
	// maxHeld bounds what waits and what is repeated, together; maxPerKey what waits of one trouble.
	maxHeld   = 4096
	maxPerKey = 16
	// mayNotRest is the wait where no attempt may be made.
	mayNotRest = time.Second
)

// ErrFull says that the queue holds as much as it may. What was handed in is not in it.
var ErrFull = errors.New("too many notifications are waiting for this sender")

// Queue brings notifications to one sender, one at a time.
//
// What belongs to one trouble arrives in the order in which it was handed in; among troubles, the first page of a critical
// one goes first. An update that waits is replaced by a later one, and, as an acknowledgement that waits, by the end of the
// trouble; a trigger and a resolve are never left out. An attempt that failed is made again after 1 s to 5 min, and no
// earlier than the other end has asked for; the others of the queue have their turn meanwhile, at least half a minute apart
// while nothing gets through. After 24 hours, or when it is refused for good, a notification is a dead letter.
//
// For a [Repeater] the queue also keeps what is open and tells it again, many at a time, until it is over. One that is refused,
// and spoils it for the others, is found by halves and told alone from then on, as often as the others; it is said once and
// shown while it lasts, and never given up. Memory is bounded: 4096 notifications of some kilobytes. A queue is lost with its
// process: who hands in keeps a notification until its outcome is told, and after a restart hands it in again, under the same
// ID.
//
// A queue is safe for concurrent use.
type Queue struct {
	name, kind string
	sender     Sender
	limit      *rate.Limiter
	log        *zap.Logger
	// may is asked before each attempt; nil: it may always be made.
	may func() bool
	// every and resolvedFor are those of a Repeater; zero: nothing is repeated.
	every, resolvedFor time.Duration
	repeater           Repeater
	// wake has room for one: a second wish to look at the queue adds nothing to the first.
	wake chan struct{}

	mu      sync.Mutex
	seq     uint64
	waiting map[string][]*item // by key, in order; no list is empty
	count   int                // of all lists together
	open    map[string]*repeat // by key
	told    []func()           // outcomes that Run has not told yet
	// gate is before when no attempt is made, failures how many failed in a row.
	gate     time.Time
	failures int
	status   Status
}

// item is a notification that waits.
type item struct {
	n         Notification
	done      func(Outcome)
	seq       uint64
	since     time.Time
	attempts  int
	notBefore time.Time
	lastErr   string
	sending   bool
}

// NewQueue makes the queue of a sender. c is its configuration, for the name and the rate.
func NewQueue(c Config, s Sender, log *zap.Logger) *Queue {
	c.setDefaults()
	q := &Queue{
		name: c.Name, kind: c.Kind(), sender: s, log: log.With(zap.String("sender", c.Name)),
		limit: rate.NewLimiter(rate.Every(time.Minute/time.Duration(c.PerMinute)), max(1, c.PerMinute/12)),
		wake:  make(chan struct{}, 1), waiting: map[string][]*item{}, open: map[string]*repeat{},
	}
	if r, ok := s.(Repeater); ok {
		q.repeater = r
		q.every, q.resolvedFor = r.Repeat()
	}
	return q
}

// Submit hands a notification in. It never blocks on the network. done is called once, from Run, which it must not hold
// up; nil: nobody wants to know. Where one with the same ID waits already, it stays and done takes the place of its own.
//
// The error is [ErrFull], or says what is wrong with the notification; done is not called then.
func (q *Queue) Submit(n Notification, done func(Outcome)) error {
	if err := n.check(); err != nil {
		return err
	}
	n = n.bounded()
	q.mu.Lock()
	defer q.mu.Unlock()
	if it := q.find(n.Key, n.ID); it != nil {
		it.done = done
		return nil
	}
	if err := q.room(n); err != nil {
		return err
	}
	now := time.Now()
	for _, it := range q.waiting[n.Key] {
		if !it.sending && replaces(n.Action, it.n.Action) {
			q.end(it, Outcome{Result: ResultReplaced, At: now})
		}
	}
	q.seq++
	q.waiting[n.Key] = append(q.waiting[n.Key], &item{n: n, done: done, seq: q.seq, since: now})
	q.count++
	q.stir()
	return nil
}

func (q *Queue) find(key, id string) *item {
	for _, it := range q.waiting[key] {
		if it.n.ID == id {
			return it
		}
	}
	return nil
}

// room tells whether a notification may come in. The end of a trouble that is known always may: there is one of each.
func (q *Queue) room(n Notification) error {
	list := q.waiting[n.Key]
	if n.Action == ActionResolve && (q.open[n.Key] != nil || len(list) > 0 && list[len(list)-1].n.Action != ActionResolve) {
		return nil
	}
	if q.count+len(q.open) >= maxHeld || len(list) >= maxPerKey {
		return ErrFull
	}
	return nil
}

// replaces tells whether a later notification makes one that waits needless.
func replaces(later, waits Action) bool {
	switch later {
	case ActionUpdate:
		return waits == ActionUpdate
	case ActionAcknowledge:
		return waits == ActionAcknowledge
	case ActionResolve:
		return waits == ActionUpdate || waits == ActionAcknowledge
	}
	return false
}

// stir has Run look again. It never blocks.
func (q *Queue) stir() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Run sends until ctx is done, and gives an attempt that is under way two more seconds. It returns nil. What waits then is
// not told as an outcome. A queue has one Run at a time.
func (q *Queue) Run(ctx context.Context) error {
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(lastAttempt, cancel) })
	defer stop()
	for ctx.Err() == nil {
		q.tell()
		job, wait := q.next(time.Now())
		if job.n.ID == "" {
			q.sleep(ctx, wait)
			continue
		}
		if q.may != nil && !q.may() {
			q.abandon(job)
			q.sleep(ctx, mayNotRest)
			continue
		}
		err := q.attempt(sending, job)
		if err != nil && sending.Err() != nil {
			q.abandon(job)
			break
		}
		q.finish(job, err, time.Now())
	}
	q.tell()
	return nil
}

func (q *Queue) attempt(ctx context.Context, j job) error {
	if j.it != nil {
		return q.sender.Send(ctx, j.n)
	}
	return q.repeater.Again(ctx, j.notifications())
}

// sleep waits until there may be something to do; a wait of zero is one for something to be handed in.
func (q *Queue) sleep(ctx context.Context, wait time.Duration) {
	var due <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
	case <-q.wake:
	case <-due:
	}
}

// tell calls those who wait for an outcome.
func (q *Queue) tell() {
	q.mu.Lock()
	told := q.told
	q.told = nil
	q.mu.Unlock()
	for _, f := range told {
		f()
	}
}
