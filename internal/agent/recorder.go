package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/state"
)

const (
	// commitRetryMax is the longest wait after a commit that failed.
	commitRetryMax = 5 * time.Second
	// ackWithin is how long an acknowledgement waits for a commit that there is another reason for.
	ackWithin = 5 * time.Second
	// sayAgain is how long nothing is said of a problem that comes and goes: a disk that is slow, or so full that small
	// changes still find room.
	sayAgain = time.Minute
)

// recorder does for the loop what waits for a disk: it commits to the state file, wakes the publisher and runs jobs such
// as writing the sysctl.d file. The loop hands it changes and never waits; what comes while it is busy is merged into
// the next transaction.
//
// While the disk takes nothing, it keeps what is to be saved and tries again. It also keeps an image of all that the file
// should hold, so that a file found damaged, or gone, is begun afresh with nothing lost that the agent knows.
type recorder struct {
	disk  *disk
	queue *outbox
	wake  func() // tells the publisher that there are new events
	log   *zap.Logger
	fail  func(stage string) // see Config.Fail
	// told is called with what has to be said of a state file that was opened again, and with the steps in it that the
	// run before left. It must not wait for the recorder.
	told func(text string, earlier []state.Record)
	// afterCommit is called after each commit that succeeded, within its turn at the disk.
	afterCommit func()

	mu        sync.Mutex
	change    state.Change // its events are in queue
	image     image
	known     bool     // the image began with what the state file held at the start
	committed []func() // to run after the next commit
	problem   string   // why the last commit failed
	since     time.Time
	saidAt    time.Time // when a problem was last logged, and which
	saidText  string
	said      bool // the problem of now was
	// ready has room for one: a wake-up that has not been seen yet stands for all later ones.
	ready chan struct{}
	// acked has room for one, likewise: there are acknowledgements that the disk does not know yet.
	acked chan struct{}
	jobs  *jobs
}

func newRecorder(d *disk, queue *outbox, log *zap.Logger) *recorder {
	r := &recorder{
		disk: d, queue: queue, wake: func() {}, fail: func(string) {}, told: func(string, []state.Record) {}, afterCommit: func() {}, log: log,
		image: newImage(),
		ready: make(chan struct{}, 1), acked: make(chan struct{}, 1), jobs: newJobs(),
	}
	queue.hurt, queue.acknowledged = r.signal, func() {
		select {
		case r.acked <- struct{}{}:
		default:
		}
	}
	return r
}

// add merges a change into the next transaction; committed runs after the commit.
func (r *recorder) add(c state.Change, committed func()) {
	r.mu.Lock()
	r.queue.add(c.Events) // under the lock, so that no commit has the position without the event
	c.Events = nil
	r.change = merge(r.change, c)
	r.image.put(c)
	if committed != nil {
		r.committed = append(r.committed, committed)
	}
	direct := r.problem != ""
	r.mu.Unlock()
	r.signal()
	if direct {
		r.wake()
	}
}

// do runs a job apart from the loop, after those before it, whether or not the disk takes the state.
func (r *recorder) do(job func()) { r.jobs.add(job) }

func (r *recorder) signal() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// Run works until ctx is done, and then once more, for as long as a disk that answers needs.
func (r *recorder) Run(ctx context.Context) error {
	finished := r.jobs.start(ctx)
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 100*time.Millisecond, commitRetryMax
	retry, acks := time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	defer retry.Stop()
	defer acks.Stop()
	armed := false
	for first := true; ; first = false {
		if first && r.failing() { // the file could not be opened at the start
			retry.Reset(wait.NextBackOff())
		}
		select {
		case <-ctx.Done():
			<-finished
			r.commit(ctx)
			return nil
		case <-r.ready:
			if r.failing() {
				continue // what comes while the disk takes nothing does not make it be asked more often
			}
		case <-r.acked:
			if !armed {
				armed = true
				acks.Reset(ackWithin)
			}
			continue
		case <-acks.C:
			if armed = false; r.failing() {
				continue
			}
		case <-retry.C:
		}
		if r.commit(ctx) {
			wait.Reset()
			retry.Reset(time.Hour)
		} else {
			retry.Reset(wait.NextBackOff())
		}
	}
}

func (r *recorder) failing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.problem != ""
}

// work does at once what has been handed over, where Run is not running. A disk that hangs is waited for until ctx is
// done.
func (r *recorder) work(ctx context.Context) bool {
	if r.disk.inline {
		r.jobs.drain()
		return r.commit(ctx)
	}
	select {
	case <-r.jobs.drained():
		return r.commit(ctx)
	case <-ctx.Done():
		return false
	}
}

// commit writes what is to be saved. It returns false where the disk did not take it, or where ctx is done before the
// disk has answered; the change is kept then.
func (r *recorder) commit(ctx context.Context) bool {
	wait := diskSlow
	if r.failing() && ctx.Err() != nil {
		wait = diskStop
	}
	done, ok := r.disk.start(wait, r.write)
	if !ok {
		r.report(r.disk.slow())
		return false
	}
	slow := time.NewTimer(wait)
	defer slow.Stop()
	select {
	case err := <-done:
		return r.report(err)
	case <-slow.C:
		r.report(r.disk.slow())
	}
	select {
	case err := <-done:
		return r.report(err)
	case <-ctx.Done():
		return false
	}
}

// write commits, in its turn at the disk. A file that is found damaged is begun afresh at once.
func (r *recorder) write() error {
	err := r.writeOnce()
	if errors.Is(err, state.ErrDamaged) {
		err = r.writeOnce()
	}
	if err == nil {
		r.afterCommit()
	}
	return err
}

func (r *recorder) writeOnce() error {
	store, err := r.disk.ready()
	if err != nil {
		return err
	}
	if r.disk.news != nil {
		if err := r.reopened(store); err != nil {
			return err
		}
	}
	for more := true; more; {
		if more, err = r.commitSome(store); err != nil {
			if errors.Is(err, state.ErrDamaged) {
				r.disk.condemn(err)
			}
			return err
		}
	}
	return nil
}

// commitSome commits all that is to be saved, or where that is a lot a part of the events, and tells whether more is left.
// What the events came of goes with the last of them, so that no position moves on without its events.
func (r *recorder) commitSome(store *state.Store) (more bool, err error) {
	change, committed, all := r.take()
	if !change.Empty() {
		r.failAt(StageBeforeCommit, change)
		var done state.Committed
		done, err = store.Commit(change)
		r.failAt(StageAfterCommit, change)
		r.queue.took(change, done, store, err)
	}
	if err != nil {
		r.giveBack(change, committed)
		return true, err
	}
	for _, f := range committed {
		f()
	}
	if !change.Empty() {
		r.wake()
	}
	return !all, nil
}

// failAt calls fail where a change has steps.
func (r *recorder) failAt(stage string, change state.Change) {
	if len(change.Steps) > 0 {
		r.fail(stage)
	}
}

// take gives what is to be committed now.
func (r *recorder) take() (change state.Change, committed []func(), all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if all = r.queue.take(&change); all {
		events, acked, dropped := change.Events, change.Acked, change.Dropped
		change, committed = r.change, r.committed
		change.Events, change.Acked, change.Dropped = events, acked, dropped
		r.change, r.committed = state.Change{}, nil
	}
	return change, committed, all
}

// giveBack puts a change that was not committed before what has come since. Its events are the queue's.
func (r *recorder) giveBack(change state.Change, committed []func()) {
	change.Events, change.Acked, change.Dropped = nil, nil, 0
	r.mu.Lock()
	defer r.mu.Unlock()
	r.change = merge(change, r.change)
	r.committed = append(committed, r.committed...)
}

// report says once that the state cannot be saved, and once that it can again. It returns whether it can.
func (r *recorder) report(err error) bool {
	now, text := time.Now(), ""
	if err != nil {
		text = err.Error()
	}
	r.mu.Lock()
	before, since, said := r.problem, r.since, r.said
	r.problem = text
	begins, ends := text != "" && before == "", text == "" && before != ""
	if begins {
		r.since, r.said = now, text != r.saidText || now.Sub(r.saidAt) > sayAgain
		if said = r.said; said {
			r.saidAt, r.saidText = now, text
		}
	}
	r.mu.Unlock()
	if !begins && !ends {
		return err == nil
	}
	r.queue.sendDirectly(begins)
	if begins && said {
		r.log.Error("state not saved", zap.Error(err), zap.String("until_then", withoutDisk))
	}
	if ends && said {
		r.log.Info("state saved again", zap.Duration("after", now.Sub(since)), zap.Uint64("events_dropped", r.queue.count().Dropped))
	}
	r.wake()
	return err == nil
}

// withoutDisk is what an operator has to know.
const withoutDisk = "detection, steps and events to NATS go on; what came since is in memory, and a restart would lose " +
	"it: events not yet sent, and how far each source was read"

// health tells why nothing is saved, and since when; empty: all is.
func (r *recorder) health() (problem string, since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.problem, r.since
}
