package agent

import "github.com/ctwarden/ctwarden/notify"

// Stages at which [Config.Fail] is called, beside those of package apply.
const (
	StageBeforeCommit = "before_commit" // a step, or its outcome, is about to be committed
	StageAfterCommit  = "after_commit"  // it is
	StageBeforeAck    = "before_ack"    // events are published, and still in the outbox
	StageAfterAck     = "after_ack"     // they are out of it, which the next commit tells the disk
)

// queue is the outbox as the publisher is to use it.
func (c Config) queue(q notify.Queue) notify.Queue {
	if c.Fail == nil {
		return q
	}
	return failingQueue{Queue: q, fail: c.Fail}
}

// failingQueue is an outbox that can fail between publication and acknowledgement.
type failingQueue struct {
	notify.Queue
	fail func(stage string)
}

// Ack implements notify.Queue.
func (q failingQueue) Ack(seqs []uint64) error {
	if len(seqs) > 0 {
		q.fail(StageBeforeAck)
	}
	err := q.Queue.Ack(seqs)
	if len(seqs) > 0 {
		q.fail(StageAfterAck)
	}
	return err
}
