package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/state"
)

const (
	// commitRetryMax is the longest wait after a commit that failed.
	commitRetryMax = 10 * time.Second
	// keepUnsaved is how many events wait in memory while the disk does not take them.
	keepUnsaved = 10000
)

// recorder does for the loop what waits for a disk: it commits to the state file, wakes the publisher and runs jobs such
// as writing the sysctl.d file. The loop hands it changes and never waits; what comes while it is busy is merged into
// the next transaction.
type recorder struct {
	store *state.Store
	wake  func() // tells the publisher that there are new events
	log   *zap.Logger
	fail  func(stage string) // see Config.Fail

	mu        sync.Mutex
	change    state.Change
	committed []func() // to run after the next commit
	jobs      []func()
	unsaved   uint64 // events dropped because the disk did not take them
	problem   string // why the last commit failed
	// ready has room for one: a wake-up that has not been seen yet stands for all later ones.
	ready chan struct{}
	// damaged has room for one error: that the state file takes nothing any more. The recorder sends it once.
	damaged chan error
	dead    bool // the error was sent; nothing is committed from then on
}

func newRecorder(store *state.Store, wake func(), log *zap.Logger) *recorder {
	return &recorder{
		store: store, wake: wake, log: log, fail: func(string) {}, ready: make(chan struct{}, 1), damaged: make(chan error, 1),
	}
}

// add merges a change into the next transaction; committed runs after the commit.
func (r *recorder) add(c state.Change, committed func()) {
	r.mu.Lock()
	r.change = merge(r.change, c)
	r.unsaved += trim(&r.change, keepUnsaved)
	if committed != nil {
		r.committed = append(r.committed, committed)
	}
	r.mu.Unlock()
	r.signal()
}

// do runs a job in the recorder's goroutine, whether or not the disk takes the state.
func (r *recorder) do(job func()) {
	r.mu.Lock()
	r.jobs = append(r.jobs, job)
	r.mu.Unlock()
	r.signal()
}

func (r *recorder) signal() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// Run works until ctx is done, and then once more.
func (r *recorder) Run(ctx context.Context) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 100*time.Millisecond, commitRetryMax
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			r.work()
			return nil
		case <-r.ready:
		case <-retry.C:
		}
		if r.work() {
			wait.Reset()
			retry.Reset(time.Hour)
		} else {
			retry.Reset(wait.NextBackOff())
		}
	}
}

// watch returns an error when the state file is found damaged, and nil when ctx is done. The store is of no use then, and
// only a new start sets the file aside; jobs are still done.
func (r *recorder) watch(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-r.damaged:
		return fmt.Errorf("%w; start ctwarden again: it sets the file aside and begins a fresh one", err)
	}
}

// giveUp tells watch of a damaged state file.
func (r *recorder) giveUp(err error) {
	r.dead = true
	r.damaged <- err
}

// work does what has been handed over. It returns false where the state could not be committed; the change is kept.
func (r *recorder) work() bool {
	r.mu.Lock()
	change, committed, jobs := r.change, r.committed, r.jobs
	r.change, r.committed, r.jobs = state.Change{}, nil, nil
	r.mu.Unlock()

	for _, job := range jobs {
		job()
	}
	if r.dead {
		return true
	}
	if empty(change) {
		for _, f := range committed {
			f()
		}
		return true
	}
	if len(change.Steps) > 0 {
		r.fail(StageBeforeCommit)
	}
	_, err := r.store.Commit(change)
	if len(change.Steps) > 0 {
		r.fail(StageAfterCommit)
	}
	r.report(err)
	if err != nil {
		r.giveBack(change, committed)
		if errors.Is(err, state.ErrDamaged) {
			r.giveUp(err)
		}
		return false
	}
	for _, f := range committed {
		f()
	}
	r.wake()
	return true
}

// giveBack puts a change that was not committed before what has come since.
func (r *recorder) giveBack(change state.Change, committed []func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.change = merge(change, r.change)
	r.unsaved += trim(&r.change, keepUnsaved)
	r.committed = append(committed, r.committed...)
}

// report says once that the state cannot be saved, and once that it can again.
func (r *recorder) report(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	r.mu.Lock()
	before := r.problem
	r.problem = text
	r.mu.Unlock()
	switch {
	case text != "" && before == "":
		r.log.Error("state not saved", zap.Error(err))
	case text == "" && before != "":
		r.log.Info("state saved again")
	}
}

// health returns how many events were dropped because they could not be saved, and why the last commit failed.
func (r *recorder) health() (unsaved uint64, problem string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unsaved, r.problem
}
