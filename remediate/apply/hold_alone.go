package apply

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// lockAgain is the wait before a lock that somebody has is asked for again.
const lockAgain = 10 * time.Millisecond

// alone keeps others from changing the hold meanwhile, in this process or another: an order and the move of a hold to
// state_dir must not come between each other's steps. The lock is on runtime_dir, where no disk can keep it.
//
// It is false where somebody has it for longer than wait, or where there is no runtime_dir. An order goes on then all the
// same. The function that comes with it, which may be called twice, ends it.
func (p HoldPlaces) alone(wait time.Duration) (unlock func(), ok bool) {
	dir, err := os.Open(p.RuntimeDir)
	if err != nil {
		return func() {}, false
	}
	unlock = sync.OnceFunc(func() { dir.Close() })
	until := time.NewTimer(wait)
	defer until.Stop()
	for {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return unlock, true
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			break
		}
		select {
		case <-time.After(lockAgain):
			continue
		case <-until.C:
		}
		break
	}
	unlock()
	return unlock, false
}

// within does what may hang with a disk, and gives up after holdWriteWithin: then ctx is done, and answered is false.
func within[T any](do func(ctx context.Context) T) (got T, answered bool) {
	ctx, cancel := context.WithTimeout(context.Background(), holdWriteWithin)
	defer cancel()
	done := make(chan T, 1)
	// Not in an errgroup, whose Wait would wait for a disk that hangs.
	go func() { done <- do(ctx) }()
	select {
	case got = <-done:
		return got, true
	case <-ctx.Done():
		return got, false
	}
}

// Tidy removes from state_dir what orders left there that ended while the disk was frozen.
func (p HoldPlaces) Tidy() {
	unlock, alone := p.alone(0)
	defer unlock()
	if alone {
		p.tidy()
	}
}

// tidy is for whoever is alone: the temporary file of an order at work must stay. One that cannot be removed does no harm.
func (p HoldPlaces) tidy() {
	within(func(context.Context) error {
		root, err := os.OpenRoot(p.StateDir)
		if err != nil {
			return err
		}
		defer root.Close()
		return removeLeftovers(root, string(p.file()))
	})
}
