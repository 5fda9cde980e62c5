package conntrack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// mountsApart is how long a change of the mounts after another is told: a host may mount hundreds of times a second.
const mountsApart = 50 * time.Millisecond

// WatchMounts tells changed, which should have room for one, each time the list of mounts has changed, until ctx is done:
// most namespaces that come to be used are mounted on a file, those of ip-netns(8) and of container engines. It takes a
// thread, which sleeps in poll(2): Go's own poller does not wait for what the kernel tells of this file.
func WatchMounts(ctx context.Context, changed chan<- struct{}) error {
	mounts, err := unix.Open("/proc/"+mountsFile, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("watch /proc/%s: %w", mountsFile, err)
	}
	defer unix.Close(mounts) // it was only read
	end, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("watch /proc/%s: %w", mountsFile, err)
	}
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(told)
		// A counter of the kernel's that is 0 takes a 1 without a wait or an error.
		_, _ = unix.Write(end, binary.NativeEndian.AppendUint64(nil, 1))
	})
	defer func() {
		if !stop() {
			<-told
		}
		unix.Close(end)
	}()
	ask := []unix.PollFd{{Fd: int32(end), Events: unix.POLLIN}, {Fd: int32(mounts), Events: unix.POLLPRI}}
	for ctx.Err() == nil {
		n, err := unix.Poll(ask, -1)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("watch /proc/%s: %w", mountsFile, err)
		case n == 0 || ask[1].Revents == 0:
			continue
		}
		select {
		case changed <- struct{}{}:
		default:
		}
		if _, err := unix.Poll(ask[:1], int(mountsApart.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("watch /proc/%s: %w", mountsFile, err)
		}
	}
	return nil
}
