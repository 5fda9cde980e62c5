package oncall

import (
	"slices"
	"time"
)

// repeat is a trouble that is told again and again.
type repeat struct {
	n    Notification
	next time.Time
	// until is when a trouble that is over is no longer told; zero: it is open.
	until time.Time
	// refused is since when every attempt that it was part of was refused for good, and most how many may go with it until it
	// gets through, see [Queue.refuse]; zero: it is not under suspicion.
	refused time.Time
	most    int
	// why is the reason where it alone is refused while others get through; empty: it is not. said is true once that was logged.
	why  string
	said bool
}

// maxTogether is how many repeats one attempt has at most.
const maxTogether = 500

// job is one attempt: of an item that waits, or of repeats. n is the item's, or the first repeat's.
type job struct {
	n    Notification
	it   *item
	reps []*repeat
}

func (j job) notifications() []Notification {
	all := make([]Notification, len(j.reps))
	for i, r := range j.reps {
		all[i] = r.n
	}
	return all
}

// together are the repeats that go with one that is due: all that are due soon, so that a place with much open is told all
// of it at once. Those under suspicion go with their like.
func (q *Queue) together(first *repeat, now time.Time) []*repeat {
	all := []*repeat{first}
	most := maxTogether
	if first.most > 0 {
		most = min(first.most, maxTogether)
	}
	soon := now.Add(q.every / 10)
	for _, r := range q.open {
		if len(all) == most {
			break
		}
		if r != first && r.most == first.most && !r.next.After(soon) {
			all = append(all, r)
		}
	}
	return all
}

// next is what to send at now; without one, how long to wait for the next: zero where only a new one can bring it.
func (q *Queue) next(now time.Time) (job, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expire(now)
	it, rep, soonest := q.best(now)
	if it == nil && rep == nil {
		return job{}, until(soonest, now)
	}
	if q.gate.After(now) {
		return job{}, q.gate.Sub(now)
	}
	if !q.limit.AllowN(now, 1) {
		r := q.limit.ReserveN(now, 1)
		wait := r.DelayFrom(now)
		r.CancelAt(now)
		return job{}, max(wait, time.Millisecond)
	}
	if it == nil {
		return job{n: rep.n, reps: q.together(rep, now)}, 0
	}
	it.sending = true
	it.attempts++
	return job{n: it.n, it: it}, 0
}

// until is how long a time is away, zero for no time.
func until(t, now time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(t.Sub(now), time.Millisecond)
}

// best is the item or else the repeat to send at now; without either, the time at which there is one; zero: never.
func (q *Queue) best(now time.Time) (it *item, rep *repeat, soonest time.Time) {
	sooner := func(t time.Time) {
		if soonest.IsZero() || t.Before(soonest) {
			soonest = t
		}
	}
	for _, list := range q.waiting {
		first := list[0]
		switch {
		case first.notBefore.After(now):
			sooner(first.notBefore)
		case it == nil || before(first, it):
			it = first
		}
	}
	if it != nil {
		return it, nil, time.Time{}
	}
	for _, r := range q.open {
		switch {
		case r.next.After(now):
			sooner(r.next)
		case rep == nil || r.next.Before(rep.next):
			rep = r
		}
	}
	return nil, rep, soonest
}

// before tells whether a is sent before b, of two troubles.
func before(a, b *item) bool {
	if ra, rb := rank(a.n), rank(b.n); ra != rb {
		return ra < rb
	}
	return a.seq < b.seq
}

// rank is lower for what is to be heard first.
func rank(n Notification) int {
	switch {
	case n.Action == ActionTrigger && n.Severity == "critical":
		return 0
	case n.Action == ActionTrigger:
		return 1
	case n.Action == ActionResolve:
		return 2
	}
	return 3
}

// expire gives up what has waited for a day, and forgets ends that were told for long enough.
func (q *Queue) expire(now time.Time) {
	for _, list := range q.waiting {
		for _, it := range slices.Clone(list) {
			if now.Sub(it.since) >= giveUpAfter {
				q.bury(it, "given up after "+giveUpAfter.String()+": "+it.lastErr, now)
			}
		}
	}
	for key, r := range q.open {
		if !r.until.IsZero() && !now.Before(r.until) {
			delete(q.open, key)
		}
	}
}
