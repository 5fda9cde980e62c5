package agent

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/state"
)

const (
	// diskSlow is how long the disk may take for one call before the agent goes on without it.
	diskSlow = time.Second
	// diskStop is how long the stop of an agent waits for a disk that is known to be slow.
	diskStop = 300 * time.Millisecond
)

// errDiskSlow says that the disk has not answered.
var errDiskSlow = errors.New("the disk has not answered in time; is its file system frozen, or the device gone?")

// stillReading is errDiskSlow where the state file is being read all the while.
type stillReading struct{ read, size int64 } // in bytes

func (e stillReading) Error() string {
	return fmt.Sprintf("the state file is still being read and checked: %.1f of %.1f MB", float64(e.read)/1e6, float64(e.size)/1e6)
}

func (stillReading) Is(target error) bool { return target == errDiskSlow }

// disk is the state file as all use it. Any call to it may hang for as long as the disk does, and nothing ends such a
// call; so each runs in a goroutine of its own, one after the other, and whoever waits for it may give up.
type disk struct {
	path string
	opts state.Options
	// turn has room for one, the call in progress. It is never closed.
	turn chan struct{}
	// inline has calls run in the goroutine of who makes them. Tests set it, so that a panic in a call is theirs.
	inline bool
	// store is nil while the file is not open. It is changed within a turn only.
	store atomic.Pointer[state.Store]

	// What follows belongs to whose turn it is.
	condemned error         // why the open file is of no use; nil: it is
	news      *state.Opened // what the last opening found, until somebody takes it
	why       error         // why the file was opened again; nil: for the first time
}

func newDisk(path string, opts state.Options) *disk {
	opts.Progress = state.NewProgress()
	return &disk{path: path, opts: opts, turn: make(chan struct{}, 1)}
}

// start begins a call. It waits for its turn no longer than wait, and returns false where that did not come. The call's
// result comes on a channel of capacity one, which nobody has to read.
func (d *disk) start(wait time.Duration, call func() error) (<-chan error, bool) {
	if !d.await(wait) {
		return nil, false
	}
	done := make(chan error, 1)
	run := func() {
		err := call()
		<-d.turn
		done <- err
	}
	if d.inline {
		run()
	} else {
		go run() // not in an errgroup, whose Wait would wait for a disk that hangs
	}
	return done, true
}

func (d *disk) await(wait time.Duration) bool {
	select {
	case d.turn <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case d.turn <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

// within makes a call and waits for its result, for about as long as given.
func (d *disk) within(wait time.Duration, call func() error) error {
	done, ok := d.start(wait, call)
	if !ok {
		return d.slow()
	}
	timer := time.NewTimer(max(wait, diskStop))
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return d.slow()
	}
}

// slow is why a call has not returned in its time.
func (d *disk) slow() error {
	if read, size, still, busy := d.opts.Progress.Of(); busy && still < readsWithin {
		return stillReading{read, size}
	}
	return errDiskSlow
}

// ready returns the open store. It opens the file where it is not open, was found damaged or is not at its place any
// more, and where a read-only file system became writable. It is called within a turn.
func (d *disk) ready() (*state.Store, error) {
	s := d.store.Load()
	if s != nil {
		why := d.unusable(s)
		if why == nil {
			return s, nil
		}
		d.store.Store(nil)
		d.why, d.condemned = why, nil
		if err := s.Close(); err != nil {
			return nil, err
		}
	}
	if err := d.open(func(beginning) {}); err != nil {
		return nil, err
	}
	return d.store.Load(), nil
}

// unusable tells why an open file must be opened again; nil: it need not.
func (d *disk) unusable(s *state.Store) error {
	switch {
	case d.condemned != nil:
		return d.condemned
	case s.ReadOnly() && unix.Access(filepath.Dir(d.path), unix.W_OK) == nil:
		return fmt.Errorf("the file system of %s is writable again", d.path)
	}
	return s.Stale()
}

// condemn has the file opened again, which sets it aside if it is damaged. It is called within a turn.
func (d *disk) condemn(err error) { d.condemned = err }

// close lets go of the file, or gives up where the disk does not answer: then the kernel does it with the process.
func (d *disk) close() error {
	err := d.within(diskStop, func() error {
		if s := d.store.Swap(nil); s != nil {
			return s.Close()
		}
		return nil
	})
	if errors.Is(err, errDiskSlow) {
		return nil
	}
	return err
}

// isDiskFault tells an error of the disk, which may be over later, from a mistake in the set-up, which is said at the
// start and ends the agent.
func isDiskFault(err error) bool {
	for _, fault := range []error{
		errDiskSlow, unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO, unix.EFBIG, unix.ENOMEM, unix.ENODEV,
		unix.ESTALE, unix.ETIMEDOUT, unix.EUCLEAN, unix.EBADMSG, unix.ENOTCONN, unix.EHOSTDOWN, unix.EREMOTEIO,
	} {
		if errors.Is(err, fault) {
			return true
		}
	}
	return false
}
