package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// pagerKey is the name in the state file of what people are told.
	pagerKey = "oncall"
	// mostWaiting bounds what is kept for one sender until it is through.
	mostWaiting = 32
	// keptResolved is for how long after its end a trouble is told again after a restart, to a sender that forgets.
	keptResolved = time.Hour
)

// Oncall is a sender that this host uses itself, without a hub.
type Oncall struct {
	oncall.Config
	// Severity is from which on it is told: critical, or warning for both.
	Severity remediate.Severity
}

// pager tells people of this host's trouble. All but outcomes belongs to the loop, which never waits for a sender: each
// has a queue with a goroutine of its own.
//
// No connection is opened ahead of time. A place such as PagerDuty closes one that is idle, so one that was kept would
// prove nothing; a full table refuses a part of the new connections, and the queue tries again from a second on. Who must
// not depend on it pages at severity warning, before the table is full, exempts the receiver's address from tracking, or
// has a hub, to which the connection is kept.
type pager struct {
	site, host string
	senders    []*pageSender
	st         pagerState
	unsaved    bool
	log        *zap.Logger
	// came has room for one: there are outcomes. It is never closed.
	came chan struct{}

	mu       sync.Mutex
	outcomes []oncall.Outcome
}

type pageSender struct {
	name     string
	severity remediate.Severity
	queue    *oncall.Queue
}

// pagerState survives a restart, with the events that it came of.
type pagerState struct {
	Trouble *trouble                `json:"trouble,omitempty"`
	Senders map[string]*senderState `json:"senders,omitempty"`
}

// senderState is how far a sender is.
type senderState struct {
	// Told is true where the sender has been given the trouble.
	Told bool `json:"told,omitempty"`
	// Waiting is what is not known to be through, in order: a kill in between has it sent again, under its id.
	Waiting []oncall.Notification `json:"waiting,omitempty"`
	// Last is the last that got through, for a sender that must be told again and again.
	Last *oncall.Notification `json:"last,omitempty"`
}

// openPager makes the senders and goes on with what the run before left.
func (a *Agent) openPager() error {
	if len(a.cfg.Oncall) == 0 {
		return nil
	}
	p := &pager{site: a.cfg.Site, host: a.cfg.Host, log: a.cfg.Log, came: make(chan struct{}, 1)}
	for _, c := range a.cfg.Oncall {
		q, err := oncall.Open(c.Config, oncall.Options{Program: "ctwarden/" + a.cfg.Version}, a.cfg.Log)
		if err != nil {
			return fmt.Errorf("oncall: %w", err)
		}
		p.senders = append(p.senders, &pageSender{name: c.Name, severity: c.Severity, queue: q})
	}
	if saved := a.meta[pagerKey]; len(saved) > 0 {
		if err := json.Unmarshal(saved, &p.st); err != nil {
			p.st = pagerState{}
			a.noteIf(noteOncall, fmt.Errorf("what waited for on-call is not understood, and is begun afresh: %w", err))
		}
	}
	p.resume(time.Now())
	a.pager = p
	return nil
}

// resume hands over what the run before left, for the senders that there are still.
func (p *pager) resume(now time.Time) {
	before := p.st.Senders
	p.st.Senders = map[string]*senderState{}
	for _, s := range p.senders {
		st := before[s.name]
		if st == nil {
			st = &senderState{}
		}
		p.st.Senders[s.name] = st
		if n := st.Last; n != nil && (n.Action != oncall.ActionResolve || now.Sub(n.At) < keptResolved) {
			if err := s.queue.Keep(*n); err != nil {
				p.log.Warn("page_not_kept", zap.String("sender", s.name), zap.Error(err))
			}
		}
		waiting := st.Waiting
		st.Waiting = nil
		for _, n := range waiting {
			p.submit(s, n)
		}
	}
}

// submit hands a notification to a sender's queue, and keeps it until its outcome is known. Of too many that wait the
// oldest update gives way.
func (p *pager) submit(s *pageSender, n oncall.Notification) {
	st := p.st.Senders[s.name]
	if err := s.queue.Submit(n, p.tookPlace); err != nil {
		p.log.Error("page_not_sent", zap.String("sender", s.name), zap.String("key", n.Key), zap.Error(err))
		return
	}
	st.Waiting = append(st.Waiting, n)
	if len(st.Waiting) > mostWaiting {
		least := slices.IndexFunc(st.Waiting, func(n oncall.Notification) bool { return n.Action == oncall.ActionUpdate })
		st.Waiting = slices.Delete(st.Waiting, max(least, 0), max(least, 0)+1)
	}
	p.unsaved = true
}

// tookPlace is called from a queue's goroutine.
func (p *pager) tookPlace(o oncall.Outcome) {
	p.mu.Lock()
	p.outcomes = append(p.outcomes, o)
	p.mu.Unlock()
	select {
	case p.came <- struct{}{}:
	default: // one that was not seen stands for all
	}
}

// book takes the outcomes that have come.
func (p *pager) book() {
	p.mu.Lock()
	outcomes := p.outcomes
	p.outcomes = nil
	p.mu.Unlock()
	for _, o := range outcomes {
		st := p.st.Senders[o.Sender]
		if st == nil {
			continue
		}
		at := slices.IndexFunc(st.Waiting, func(n oncall.Notification) bool { return n.ID == o.ID && n.Key == o.Key })
		if at < 0 {
			continue
		}
		if o.Result == oncall.ResultDelivered {
			n := st.Waiting[at]
			st.Last = &n
		}
		st.Waiting = slices.Delete(st.Waiting, at, at+1)
		p.unsaved = true
	}
}

// turn is called at the end of the loop's turn. It returns what the state file is to keep; nil: what it has.
func (p *pager) turn(open func() []remediate.Incident) []byte {
	p.book()
	if t := p.st.Trouble; t != nil && t.say.id != "" {
		p.tell(open())
	}
	if !p.unsaved {
		return nil
	}
	p.unsaved = false
	b, err := json.Marshal(p.st)
	if err != nil {
		p.log.Error("what waits for on-call is not saved", zap.Error(err))
	}
	return b
}

// run sends until ctx is done, and gives what is under way two more seconds.
func (p *pager) run(ctx context.Context) error {
	if p == nil {
		return nil
	}
	var g errgroup.Group
	for _, s := range p.senders {
		g.Go(func() error { return s.queue.Run(ctx) })
	}
	return g.Wait()
}

// arrivals tells of outcomes; nil where nobody is told of anything.
func (p *pager) arrivals() <-chan struct{} {
	if p == nil {
		return nil
	}
	return p.came
}

// status is how the senders are.
func (p *pager) status() (list []oncall.Status) {
	if p == nil {
		return nil
	}
	for _, s := range p.senders {
		list = append(list, s.queue.Status())
	}
	return list
}
