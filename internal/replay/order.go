package replay

import (
	"container/heap"
	"iter"
	"math"
	"time"
)

// playing is an incident whose messages are being played.
type playing struct {
	*Incident
	lastStep time.Time // zero: none yet
	opened   time.Time // no message is earlier

	order int       // among incidents with a message at the same time
	at    time.Time // the next message
	done  int       // how many messages were played, that one too
}

// inOrder yields the messages of incidents that are sorted by their opening, all in the order of time. Only the incidents
// that overlap are looked at together.
func inOrder(incidents []*playing) iter.Seq2[time.Time, *playing] {
	return func(yield func(time.Time, *playing) bool) {
		var now queue
		for i, p := range incidents {
			if !now.until(p.opened, yield) {
				return
			}
			p.order = i
			if p.advance() {
				heap.Push(&now, p)
			}
		}
		forever := time.Unix(math.MaxInt64>>1, 0)
		now.until(forever, yield)
	}
}

// advance finds the next message; false: there is none.
func (p *playing) advance() bool {
	if p.done == p.Moments.Len() {
		return false
	}
	p.at = p.Moments.At(p.done)
	p.done++
	return true
}

// skip leaves out the messages that follow.
func (p *playing) skip() { p.done = p.Moments.Len() }

// queue has the incidents that are being played, the one with the earliest next message first.
type queue []*playing

// until yields what is earlier than end; false: no more is wanted.
func (q *queue) until(end time.Time, yield func(time.Time, *playing) bool) bool {
	for len(*q) > 0 && (*q)[0].at.Before(end) {
		p := (*q)[0]
		if !yield(p.at, p) {
			return false
		}
		if p.advance() {
			heap.Fix(q, 0)
		} else {
			heap.Pop(q)
		}
	}
	return true
}

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	if c := q[i].at.Compare(q[j].at); c != 0 {
		return c < 0
	}
	return q[i].order < q[j].order
}

func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push and Pop are for package heap.
func (q *queue) Push(p any) { *q = append(*q, p.(*playing)) }

func (q *queue) Pop() any {
	last := len(*q) - 1
	p := (*q)[last]
	*q = (*q)[:last]
	return p
}
