package hub

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// answerTime is how long answers to an order are waited for: hosts answer an order to many within two seconds.
	answerTime = 3500 * time.Millisecond
	// maxTallies is for how many orders the answers are counted.
	maxTallies = 64
	// firstAgain and lastAgain bound the wait before a host that does not do what is wanted is told again.
	firstAgain = 30 * time.Second
	lastAgain  = time.Hour
	// hubName is who gives the orders that nobody asked for.
	hubName = "ctwarden-hub"
)

// orders are the leader's side of the commands to hosts: sent after they are saved, answers counted, and sent again to hosts
// whose state says otherwise. All of it belongs to the loop.
type orders struct {
	l *leading
	// answers has room for what comes in while the loop is busy; what does not fit is not counted.
	answers chan notify.Answer
	tallies map[string]*tally
	oldest  []string // the ids of tallies, in order
	again   map[string]resend
	// disbelieved counts what hosts claim and cannot have heard, as far as it is logged.
	disbelieved int
}

// tally counts the answers to one order.
type tally struct {
	reach hold
	// asked is how many hosts it should reach, as far as the hub hears of them.
	asked   int
	answers map[string]notify.CommandReason // by host key; empty: done
	// ends is when the answers that are missing are given up; reply is told then, or when all are there. Nil: it was told.
	ends  time.Time
	reply func(counts, error)
}

// counts are what became of an order.
type counts struct{ Reached, Done, Refused, Missing int }

func (t *tally) counts() counts {
	c := counts{Reached: len(t.answers), Missing: max(0, t.asked-len(t.answers))}
	for _, reason := range t.answers {
		if reason == "" {
			c.Done++
		} else {
			c.Refused++
		}
	}
	return c
}

// resend says when a host may be told again, and how long after that.
type resend struct {
	next time.Time
	wait time.Duration
}

func newOrders(l *leading) *orders {
	return &orders{l: l, answers: make(chan notify.Answer, 16384), tallies: map[string]*tally{}, again: map[string]resend{}}
}

// listen subscribes to the hosts' answers.
func (o *orders) listen(context.Context) (*nats.Subscription, error) {
	return o.l.h.o.Conn.Subscribe(notify.AnswerPrefix+".*.*", func(m *nats.Msg) {
		a, err := notify.DecodeAnswer(m.Subject, m.Data)
		if err != nil {
			o.l.log.Debug("answer_unreadable", zap.Error(err))
			return
		}
		select {
		case o.answers <- a:
		default:
		}
	})
}

// hold orders what h says, once it is saved. reply is told the answers, or why it could not be sent; it may be nil. The
// caller has the hub's mutex.
func (o *orders) hold(h hold, now time.Time, reply func(counts, error)) {
	h.ID = rand.Text()
	o.l.control.add(h, now)
	o.afterSave(func(now time.Time) { o.send(h, o.command(h.ID, h.By, h.Why, &h, now), reply) })
}

// unhold releases the hold of a reach. Where others reach some of its hosts, each host is told what is in force there.
func (o *orders) unhold(h hold, now time.Time, reply func(counts, error)) bool {
	if !o.l.control.release(h.Site, h.Host, now) {
		return false
	}
	o.allow(h, reply)
	return true
}

// unholdBudget releases the hub's own hold, which it does not order again before that would have ended.
func (o *orders) unholdBudget(h hold, now time.Time, reply func(counts, error)) bool {
	r := o.l.control.releaseBudget(now)
	if r == nil {
		return false
	}
	o.l.fleet.Release(r.Budget, r.Until)
	o.l.fleet.TellRelease(r.Budget, h.By, r.Until, now)
	o.allow(h, reply)
	return true
}

// allow tells those whom a hold reached, once its end is saved.
func (o *orders) allow(h hold, reply func(counts, error)) {
	h.ID = rand.Text()
	o.afterSave(func(now time.Time) { o.send(h, o.command(h.ID, h.By, h.Why, nil, now), reply) })
}

func (o *orders) afterSave(do func(now time.Time)) {
	o.l.changed = true
	o.l.replies = append(o.l.replies, func() {
		o.l.h.mu.Lock()
		defer o.l.h.mu.Unlock()
		do(time.Now())
	})
}

// command is the order that makes a host hold as h says, or not at all.
func (o *orders) command(id, by, why string, h *hold, now time.Time) notify.Command {
	c := notify.Command{ID: id, Rev: max(o.l.control.Rev, 1), At: now, By: by, Why: why, Verb: notify.CommandUnhold}
	if h != nil {
		c.Verb, c.Until, c.By, c.Why = notify.CommandHold, h.Until, h.By, h.Why
	}
	return c
}

// send publishes an order to all whom it reaches, by one message where the same is to be in force on all of them.
func (o *orders) send(reach hold, c notify.Command, reply func(counts, error)) {
	now := c.At
	t := &tally{reach: reach, answers: map[string]notify.CommandReason{}, ends: now.Add(answerTime), reply: reply}
	o.count(c.ID, t)
	var apart []hostState
	o.l.h.hosts.each(func(s hostState, seen time.Time) {
		if !reach.reaches(s.Site, s.Host) || now.Sub(seen) > HostTTL {
			return
		}
		t.asked++
		if w := o.l.control.wanted(s.Site, s.Host, now); !says(c, w) {
			apart = append(apart, s)
		}
	})
	if c.Verb == notify.CommandHold || len(apart) == 0 {
		o.publish(subjectOf(reach), c.ID, c)
	}
	for _, s := range apart {
		w := o.l.control.wanted(s.Site, s.Host, now)
		each := o.command(c.ID, c.By, c.Why, w, now)
		if c.Verb == notify.CommandHold {
			each.ID = rand.Text() // the order to all has its id already
		}
		o.publish(notify.CommandToHost(s.Site, s.Host), c.ID, each)
	}
	if c.Verb == notify.CommandUnhold && len(apart) > 0 {
		o.l.h.hosts.each(func(s hostState, seen time.Time) {
			if reach.reaches(s.Site, s.Host) && now.Sub(seen) <= HostTTL && o.l.control.wanted(s.Site, s.Host, now) == nil {
				o.publish(notify.CommandToHost(s.Site, s.Host), c.ID, c)
			}
		})
	}
}

// says tells whether the order is what is wanted.
func says(c notify.Command, w *hold) bool {
	if w == nil {
		return c.Verb == notify.CommandUnhold
	}
	return c.Verb == notify.CommandHold && c.Until.Equal(w.Until)
}

func subjectOf(h hold) string {
	switch {
	case h.Host != "":
		return notify.CommandToHost(h.Site, h.Host)
	case h.Site != "":
		return notify.CommandToSite(h.Site)
	}
	return notify.CommandToAll()
}

// publish has a command sent. order is the id under which a user waits for it; empty: nobody does.
func (o *orders) publish(subject, order string, c notify.Command) {
	body, err := c.Encode()
	if err != nil {
		o.l.log.Error("order_not_sent", zap.String("subject", subject), zap.Error(err))
		o.unsent(unsent{order, err})
		return
	}
	o.l.outbox.put(outgoing{subject, body, order})
}

// unsent tells who waits for an order that it could not be sent. The caller has the hub's mutex.
func (o *orders) unsent(u unsent) {
	if t := o.tallies[u.order]; t != nil && t.reply != nil {
		t.reply(t.counts(), fmt.Errorf("it stands, and the hosts will hear of it within minutes, but it could not be sent to all just now: %w", u.err))
		t.reply = nil
	}
}

func (o *orders) count(id string, t *tally) {
	o.tallies[id] = t
	o.oldest = append(o.oldest, id)
	if len(o.oldest) > maxTallies {
		delete(o.tallies, o.oldest[0])
		o.oldest = o.oldest[1:]
	}
}

// heard counts an answer.
func (o *orders) heard(a notify.Answer) {
	o.l.h.mu.Lock()
	defer o.l.h.mu.Unlock()
	o.believe(a.Rev, a.Site, a.Host, time.Now())
	t := o.tallies[a.ID]
	if t == nil {
		return
	}
	reason := a.Reason
	if !a.Done && reason == "" {
		reason = notify.CommandFailed
	}
	if a.Done {
		reason = ""
	}
	t.answers[notify.HostKey(a.Site, a.Host)] = reason
	if len(t.answers) >= t.asked {
		t.finish()
	}
}

func (t *tally) finish() {
	if t.reply != nil {
		t.reply(t.counts(), nil)
		t.reply = nil
	}
}

// believe goes on from a revision that a host says it has heard, where a hub can have given it. The caller has the hub's
// mutex.
func (o *orders) believe(rev uint64, site, host string, now time.Time) {
	if o.l.control.catchUp(rev, now) || o.disbelieved > maxTold {
		return
	}
	o.disbelieved++
	o.l.log.Warn("revision_not_believed", zap.String("site", site), zap.String("host", host), zap.Uint64("revision", rev),
		zap.String("meaning", "no hub can have given it; orders to this host may be refused as old"))
}

// tick ends what is over, has answers that are missing given up, and orders what the fleet wants by itself. The caller has
// the hub's mutex.
func (o *orders) tick(now time.Time) {
	o.l.control.expire(now)
	for _, t := range o.tallies {
		if !now.Before(t.ends) {
			t.finish()
		}
	}
	for _, w := range o.l.fleet.Wants() {
		if w.Verb != string(notify.CommandHold) || !now.Before(w.Until) || o.has(w.ID) {
			continue
		}
		o.hold(hold{Since: now.UTC().Truncate(time.Second), Until: w.Until, By: hubName, Why: w.Why, Budget: w.ID}, now, nil)
	}
}

// has tells whether the hub holds on account of this incident already.
func (o *orders) has(budget string) bool {
	for _, h := range o.l.control.Holds {
		if h.Budget == budget {
			return true
		}
	}
	return false
}

// reconcile tells a host again what its state shows that it has not heard. The caller has the hub's mutex.
func (o *orders) reconcile(s hostState, now time.Time) {
	key := notify.HostKey(s.Site, s.Host)
	o.believe(s.Fleet.Rev, s.Site, s.Host, now)
	c, differs := o.missing(s, now)
	if !differs {
		delete(o.again, key)
		return
	}
	r := o.again[key]
	if now.Before(r.next) {
		return
	}
	r.wait = min(max(2*r.wait, firstAgain), lastAgain)
	r.next = now.Add(r.wait)
	o.again[key] = r
	o.publish(notify.CommandToHost(s.Site, s.Host), "", c)
}

// missing is the order that brings a host to what is wanted. A host whose agent says nothing of the fleet is told only what
// it should hold.
func (o *orders) missing(s hostState, now time.Time) (notify.Command, bool) {
	w := o.l.control.wanted(s.Site, s.Host, now)
	switch {
	case w != nil && (!s.Fleet.Hold || !s.Fleet.HoldUntil.Equal(w.Until)):
		return o.command(rand.Text(), w.By, w.Why, w, now), true
	case w == nil && s.Fleet.Hold:
		return o.command(rand.Text(), hubName, "", nil, now), true
	}
	mode := o.l.fleet.Mode(s.Site, s.Host)
	unset := mode == remediate.ModeObserve && s.Fleet.Mode == "" // which is what the host does by itself
	if len(o.l.h.set.Fleet.Rollout) == 0 || !s.Fleet.Awaits || s.Fleet.Mode == mode || unset {
		return notify.Command{}, false
	}
	c := notify.Command{ID: rand.Text(), Rev: max(o.l.control.Rev, 1), At: now, By: hubName, Why: "rollout", Verb: notify.CommandMode, Mode: mode}
	return c, true
}
