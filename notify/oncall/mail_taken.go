package oncall

import (
	"sync"
	"time"
)

const (
	// missedFor is for how long recipients whom the server does not take for now, as with greylisting, are tried again once
	// others have the message. What comes behind it in the same trouble waits meanwhile.
	missedFor = 10 * time.Minute
	// maxTaken is of how many messages it is known who has them.
	maxTaken = 256
)

// taken remembers who has a message that did not reach everybody, so that nobody gets it twice. It is lost with the process.
type taken struct {
	mu     sync.Mutex
	byID   map[string]*takenBy
	oldest []string // the ids, in order
}

type takenBy struct {
	since time.Time
	to    map[string]bool
}

// has tells whether a recipient has the message.
func (t *taken) has(id, to string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	by := t.byID[id]
	return by != nil && by.to[to]
}

// add notes who has it now.
func (t *taken) add(id string, to []string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	by := t.byID[id]
	if by == nil {
		by = &takenBy{since: now, to: map[string]bool{}}
		if t.byID == nil {
			t.byID = map[string]*takenBy{}
		}
		t.byID[id] = by
		t.oldest = append(t.oldest, id)
	}
	for _, a := range to {
		by.to[a] = true
	}
	for len(t.byID) > maxTaken {
		delete(t.byID, t.oldest[0])
		t.oldest = t.oldest[1:]
	}
}

// outcome is what an attempt's error means, given who has the message already: with some, it is never lost. Those who are
// missing are tried for a while.
func (t *taken) outcome(id string, err error, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	by := t.byID[id]
	if by == nil {
		return err
	}
	_, again := Retryable(err)
	if !Delivered(err) && again && now.Sub(by.since) < missedFor {
		return err
	}
	delete(t.byID, id)
	for i, other := range t.oldest {
		if other == id {
			t.oldest = append(t.oldest[:i:i], t.oldest[i+1:]...)
			break
		}
	}
	if Delivered(err) {
		return err
	}
	return &partial{err}
}
