package agent

import (
	"context"
	"sync"
	"time"
)

// jobs run one after the other in a goroutine of their own, since each may hang with the disk that it writes to.
type jobs struct {
	mu   sync.Mutex
	list []func()
	// ready has room for one: a wake-up that has not been seen yet stands for all later ones.
	ready chan struct{}
}

func newJobs() *jobs { return &jobs{ready: make(chan struct{}, 1)} }

func (j *jobs) add(job func()) {
	j.mu.Lock()
	j.list = append(j.list, job)
	j.mu.Unlock()
	select {
	case j.ready <- struct{}{}:
	default:
	}
}

// drain runs what there is.
func (j *jobs) drain() {
	for {
		j.mu.Lock()
		list := j.list
		j.list = nil
		j.mu.Unlock()
		if len(list) == 0 {
			return
		}
		for _, job := range list {
			job()
		}
	}
}

// drained runs what there is, and closes the channel when that is done.
func (j *jobs) drained() <-chan struct{} {
	done := make(chan struct{})
	go func() { // not in an errgroup, whose Wait would wait for a disk that hangs
		defer close(done)
		j.drain()
	}()
	return done
}

// start runs jobs until ctx is done, and then those that are left. The channel is closed when that is done, or when the
// disk has let a job wait for too long after ctx.
func (j *jobs) start(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	// Not in an errgroup, whose Wait would wait for a disk that hangs.
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				j.drain()
				return
			case <-j.ready:
				j.drain()
			}
		}
	}()
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		<-ctx.Done()
		timer := time.NewTimer(diskSlow / 2)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
		}
	}()
	return finished
}
