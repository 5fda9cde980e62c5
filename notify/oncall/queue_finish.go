package oncall

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"
)

const (
	firstRetry = time.Second
	lastRetry  = 4 * time.Minute // and up to a quarter more
	// lastGate bounds the wait between two attempts while nothing gets through, whichever notification they are of.
	lastGate = 30 * time.Second
	// longestAsked bounds the wait that another end may ask for.
	longestAsked = time.Hour
	// outage is how many failures in a row mean that the other end is away, not that it dislikes one notification.
	outage = 3
)

// backoff is how long to wait after so many failures in a row: twice as long each time, with jitter.
func backoff(failures int, longest time.Duration) time.Duration {
	d := longest
	if failures < 10 {
		d = min(firstRetry<<max(failures-1, 0), longest)
	}
	return d + rand.N(d/4)
}

// abandon takes back an attempt that the end of Run has cut off.
func (q *Queue) abandon(j job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if j.it != nil {
		j.it.sending = false
	}
}

// finish books the outcome of an attempt.
func (q *Queue) finish(j job, err error, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if j.it != nil {
		j.it.sending = false
	}
	if !q.known(j, err) {
		q.note(j.n, err, now)
	}
	if Delivered(err) {
		q.through(j, err, now)
		return
	}
	after, again := Retryable(err)
	switch {
	case j.it == nil && !again:
		q.refuse(j.reps, line(err.Error()), now)
	case j.it == nil:
		next := now.Add(min(backoff(q.failures+1, lastRetry), q.every))
		for _, r := range j.reps {
			r.next = next
		}
	case !again:
		q.bury(j.it, line(err.Error()), now)
	default:
		j.it.lastErr = line(err.Error())
		j.it.notBefore = now.Add(backoff(j.it.attempts, lastRetry))
		q.status.Retries++
	}
	if again {
		q.failures++
		q.gate = now.Add(max(backoff(q.failures, lastGate), min(after, longestAsked)))
	}
}

// refuse books an attempt of repeats that the other end will not take as it is. One of them may be to blame: they are tried
// anew at once by halves, down to each alone. One that is refused alone is told alone from then on, as often as the others,
// until it gets through: nothing that is open is ever given up, since a place that forgets would take it to be over. Where
// something else got through meanwhile it is said, once.
func (q *Queue) refuse(reps []*repeat, why string, now time.Time) {
	for _, r := range reps {
		if r.refused.IsZero() {
			r.refused = now
		}
		r.most, r.next = max(len(reps)/2, 1), now
	}
	if len(reps) > 1 {
		return
	}
	r := reps[0]
	r.next = now.Add(q.every)
	if !q.toBlame(r) {
		return
	}
	r.why = why
	if !r.said {
		r.said = true
		q.log.Error("repeat_refused", zap.String("id", r.n.ID), zap.String("key", r.n.Key), zap.String("error", why))
	}
}

// widen lets twice as many of those under suspicion go together as have just got through: where the other end refused
// everything for a while, each was found alone, and would be told alone now, of which there may be thousands. One that is
// known to be to blame stays alone.
func (q *Queue) widen(most int) {
	if most == 0 {
		return
	}
	for _, r := range q.open {
		if r.most == most && r.why == "" {
			r.most *= 2
		}
	}
}

// acquit has nobody be to blame, since one that was gets through: the other end refused everything, not those. One that is to
// blame all the same is found again, by halves.
func (q *Queue) acquit() {
	for _, r := range q.open {
		r.why = ""
	}
}

// toBlame tells whether something else got through since a repeat is refused; else it is the other end that refuses everything.
func (q *Queue) toBlame(r *repeat) bool {
	return !r.refused.IsZero() && q.status.LastDelivered.After(r.refused)
}

// through books an attempt that got through. After an outage everything that waits may go at once.
func (q *Queue) through(j job, err error, now time.Time) {
	if q.failures >= outage {
		for _, list := range q.waiting {
			for _, it := range list {
				it.notBefore = time.Time{}
			}
		}
	}
	q.failures, q.gate, q.status.LastDelivered = 0, time.Time{}, now
	if j.it == nil {
		q.status.Repeated += uint64(len(j.reps))
		if j.reps[0].why != "" {
			q.acquit()
		}
		q.widen(j.reps[0].most)
		for _, r := range j.reps {
			r.next, r.refused, r.most, r.why = now.Add(q.every), time.Time{}, 0, ""
		}
		return
	}
	o := Outcome{Result: ResultDelivered, At: now}
	if err != nil {
		o.Err = line(err.Error())
	}
	q.end(j.it, o)
	if q.every > 0 {
		r := &repeat{n: j.n, next: now.Add(q.every)}
		if j.n.Action == ActionResolve {
			r.until = now.Add(q.resolvedFor)
		}
		q.open[j.n.Key] = r
	}
}

// Keep has a trouble told again that was delivered by another process, or before a restart. Only senders to a place that
// forgets do so; for others it does nothing. n is the last that was delivered.
func (q *Queue) Keep(n Notification) error {
	if err := n.check(); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.every == 0 || q.open[n.Key] != nil {
		return nil
	}
	if q.count+len(q.open) >= maxHeld {
		return ErrFull
	}
	r := &repeat{n: n.bounded()}
	if n.Action == ActionResolve {
		r.until = time.Now().Add(q.resolvedFor)
	}
	q.open[n.Key] = r
	q.stir()
	return nil
}

// Open are what a sender to a place that forgets was told last of each trouble, and is told again.
func (q *Queue) Open() []Notification {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]Notification, 0, len(q.open))
	for _, r := range q.open {
		all = append(all, r.n)
	}
	return all
}

// bury makes an item a dead letter: whoever handed it in is told, and keeps it.
func (q *Queue) bury(it *item, why string, now time.Time) {
	if it.n.Action == ActionResolve {
		delete(q.open, it.n.Key) // or it would be told as open for ever
	}
	q.log.Error("page_given_up", zap.String("id", it.n.ID), zap.String("key", it.n.Key), zap.Int("attempts", it.attempts), zap.String("error", why))
	q.end(it, Outcome{Result: ResultDead, At: now, Err: why})
}

// end takes an item out and has its outcome told.
func (q *Queue) end(it *item, o Outcome) {
	key := it.n.Key
	q.waiting[key] = slices.DeleteFunc(slices.Clone(q.waiting[key]), func(other *item) bool { return other == it })
	if len(q.waiting[key]) == 0 {
		delete(q.waiting, key)
	}
	q.count--
	switch o.Result {
	case ResultDelivered:
		q.status.Delivered++
	case ResultDead:
		q.status.Dead++
	case ResultReplaced:
		q.status.Replaced++
	}
	if done := it.done; done != nil {
		o = q.outcome(it, o)
		q.told = append(q.told, func() { done(o) })
	}
	q.stir()
}

func (q *Queue) outcome(it *item, o Outcome) Outcome {
	o.ID, o.Key, o.Sender, o.Attempts = it.n.ID, it.n.Key, q.name, it.attempts
	return o
}

// known tells whether an attempt ended as it did before: a repeat that alone is to blame was refused again.
func (q *Queue) known(j job, err error) bool {
	_, again := Retryable(err)
	return len(j.reps) == 1 && !Delivered(err) && !again && j.reps[0].why != "" && q.toBlame(j.reps[0])
}

// note keeps what is wrong, and logs it where it is news.
func (q *Queue) note(n Notification, err error, now time.Time) {
	before := q.status.Problem
	if err == nil {
		q.status.Problem, q.status.Since = "", time.Time{}
		if before != "" {
			q.log.Info("pages_get_through_again")
		}
		return
	}
	q.status.Problem = line(err.Error())
	if before == "" {
		q.status.Since = now
	}
	if before != q.status.Problem {
		q.log.Warn("page_not_sent", zap.String("id", n.ID), zap.String("key", n.Key), zap.Error(err))
	}
}

// Status tells how the queue is. It never blocks on the network.
func (q *Queue) Status() Status {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.status
	s.Name, s.Kind, s.Waiting, s.NextTry = q.name, q.kind, q.count, q.gate
	var since time.Time
	var why string
	for _, r := range q.open {
		if r.until.IsZero() {
			s.Open++
		}
		if r.why != "" {
			s.Refused++
			if since.IsZero() || r.refused.Before(since) {
				since, why = r.refused, r.why
			}
		}
	}
	if s.Problem == "" && s.Refused > 0 {
		s.Problem, s.Since = fmt.Sprintf("%d of what is told again are refused, and told alone: %s", s.Refused, why), since
	}
	for _, list := range q.waiting {
		if s.Oldest.IsZero() || list[0].since.Before(s.Oldest) {
			s.Oldest = list[0].since
		}
	}
	return s
}
