package agent

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// alarm has the loop go on at a time: timerfd_create(2). A timer of Go's wakes up to four threads each time it fires and is
// set: the one that waits for it, the runtime's watchdog, one that looks whether there is more to do, and that once more
// to be told of the next time. This one wakes the first alone, which wakes a second to pass the ring on: so what there is
// to do on a host at rest is done by the first.
//
// In a program that is busy it is the worse of the two: Go looks at its own timers at each switch between goroutines, and
// at files only when it runs out of others. So a time that is near is Go's.
type alarm struct {
	// turn does at once what there is to do, or tells that the loop is to.
	turn func() (done bool)
	// rings has capacity one, and is never closed: one ring is as good as several.
	rings chan struct{}
	near  *time.Timer // it rings where the time was near when it was set
	file  *os.File
	conn  syscall.RawConn
	ended sync.WaitGroup
}

// newAlarm makes one that has not been set. Whoever makes it closes it.
func newAlarm(turn func() (done bool)) (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	a := &alarm{
		turn: turn, rings: make(chan struct{}, 1), near: time.NewTimer(time.Hour), file: os.NewFile(uintptr(fd), "timerfd"),
	}
	if a.conn, err = a.file.SyscallConn(); err != nil {
		a.file.Close()
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	a.near.Stop()
	a.ended.Go(a.ring)
	return a, nil
}

// ring takes a turn, or passes on that the time has come, until the timer is closed.
func (a *alarm) ring() {
	var times [8]byte // how often it has come, which does not matter
	for {
		err := a.conn.Read(func(fd uintptr) bool {
			// Not through Go's scheduler, since it cannot block.
			_, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&times)), uintptr(len(times)))
			return errno != unix.EAGAIN
		})
		if err != nil {
			return
		}
		if a.turn() {
			continue
		}
		select {
		case a.rings <- struct{}{}:
		default:
		}
	}
}

// nearBy is what counts as near, since in a busy program Go looks at files every 10 ms only: a table that is read as often
// could not do with that. nearAtRest is the same on a host at rest, where lines that say nothing may keep the program busy.
const (
	nearBy     = 100 * time.Millisecond
	nearAtRest = 20 * time.Millisecond
)

// set has it ring in d from now, and not when it was to ring before.
func (a *alarm) set(d time.Duration, rest bool) error {
	near := nearBy
	if rest {
		near = nearAtRest
	}
	at := unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}
	if d < near {
		a.near.Reset(d)
		at.Value = unix.Timespec{} // switched off
	} else {
		a.near.Stop()
	}
	var errno syscall.Errno
	err := a.conn.Control(func(fd uintptr) {
		_, _, errno = unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&at)), 0, 0, 0)
	})
	if err == nil && errno != 0 {
		err = errno
	}
	if err != nil {
		return fmt.Errorf("set a timer: %w", err)
	}
	return nil
}

func (a *alarm) close() {
	a.near.Stop()
	a.file.Close()
	a.ended.Wait()
}
