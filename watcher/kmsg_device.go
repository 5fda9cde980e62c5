package watcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// kmsgMajor and kmsgMinor are the device number of /dev/kmsg.
const kmsgMajor, kmsgMinor = 1, 11

// errNotKmsg says that something else stands where the kernel's log should be, as some containers do it.
var errNotKmsg = errors.New("it is not the kernel's log device")

// kmsgProblem explains to an operator why the device cannot be read.
func kmsgProblem(path string, err error) State {
	st := State{Problem: err.Error(), Absent: errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotKmsg)}
	switch {
	case errors.Is(err, fs.ErrPermission):
		st.Remedy = "run as root, or grant CAP_SYSLOG (AmbientCapabilities=CAP_SYSLOG) and read access to " + path
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errNotKmsg):
		st.Remedy = "run on the host, or hand the container the host's " + path
	default:
		st.Remedy = "see whether dmesg -w works; the other sources go on"
	}
	return st
}

// open opens the device and reads it. It returns when ctx is done or the device fails.
func (k *Kmsg) open(ctx context.Context) error {
	dev, err := openKmsg(ctx, k.cfg.Path)
	if err != nil {
		return err
	}
	defer dev.close()
	k.live = false
	k.send.up()
	if k.wrap != nil {
		return k.follow(ctx, k.wrap(dev))
	}
	return k.follow(ctx, dev)
}

// openKmsg opens the device. When ctx is done a read that waits is ended.
func openKmsg(ctx context.Context, path string) (*kmsgDevice, error) {
	// Non-blocking, so that the runtime's poller waits for records and a deadline can end the wait.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(kmsgMajor, kmsgMinor) {
		f.Close()
		return nil, fmt.Errorf("open %s: %w", path, errNotKmsg)
	}
	conn, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("poll %s: %w", path, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	return &kmsgDevice{file: f, conn: conn, stop: stop}, nil
}

// kmsgDevice reads one record at a time.
type kmsgDevice struct {
	file *os.File
	conn syscall.RawConn
	stop func() bool
}

func (d *kmsgDevice) close() {
	d.stop()
	d.file.Close()
}

// read reads the next record into buf. Where there is none it fails with EAGAIN, or if wait is not 0, waits that long
// and then fails with os.ErrDeadlineExceeded.
func (d *kmsgDevice) read(ctx context.Context, buf []byte, wait time.Duration) (n int, err error) {
	if wait > 0 {
		if err := d.file.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return 0, fmt.Errorf("set deadline: %w", err)
		}
		if ctx.Err() != nil { // the end of ctx may have set its deadline just before ours
			return 0, ctx.Err()
		}
	}
	perr := d.conn.Read(func(fd uintptr) bool {
		n, err = unix.Read(int(fd), buf)
		return wait == 0 || !errors.Is(err, unix.EAGAIN)
	})
	return max(n, 0), errors.Join(perr, err)
}
