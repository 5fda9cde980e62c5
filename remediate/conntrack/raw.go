package conntrack

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawPread is pread(2) without a word to Go's scheduler: for files that cannot block.
func rawPread(fd uintptr, to []byte, at int64) (int, error) {
	if unsafe.Sizeof(fd) < unsafe.Sizeof(at) { // there an offset is two arguments, in each kernel's own order
		n, err := unix.Pread(int(fd), to, at)
		return max(n, 0), err
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_PREAD64, fd, uintptr(unsafe.Pointer(unsafe.SliceData(to))), uintptr(len(to)),
		uintptr(at), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// rawReadlinkat is readlinkat(2) of a link in /proc, in the same way. The name must end with a NUL.
func rawReadlinkat(dir int, name, to []byte) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_READLINKAT, uintptr(dir), uintptr(unsafe.Pointer(unsafe.SliceData(name))),
		uintptr(unsafe.Pointer(unsafe.SliceData(to))), uintptr(len(to)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// rawPoll is poll(2) of one file without a wait, in the same way.
func rawPoll(ask *unix.PollFd) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(ask)), 1, uintptr(unsafe.Pointer(&unix.Timespec{})), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
