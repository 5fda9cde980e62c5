package watcher

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// bell rings when something happens to files or in directories: inotify(7). It is one for a time of quiet, since while
// lines come each would ring it; whoever hears it looks, and waits again.
//
// What happens before it is hung up does not ring, so whoever hangs it up looks once more before the first wait.
type bell struct {
	file *os.File
	// worn is true once it may not ring any more for all that matters: what it hangs on was moved or removed, or there are
	// other directories now.
	worn bool
	// copied is told the path of a file named after one of watched.copies that was made, renamed or written; nil: nobody asks.
	copied func(path string)
	// logs are what files in a directory are named after, by the kernel's number for the watch on it.
	logs map[int32][]string
}

const (
	fileRings = unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
	// Not what is written to the files in it: those that matter have a bell of their own.
	dirRings = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE_SELF |
		unix.IN_MOVE_SELF | unix.IN_ONLYDIR
)

// watched is what a bell is hung up on.
type watched struct {
	files []string // each may be the name of an open one below /proc/self/fd
	dirs  []string
	// copies are paths in whose directories copies of them are told of.
	copies []string
}

var errNoEvents = errors.New("not every change on this file system is told")

// hangUp makes a bell. It fails where the kernel has none left, or where not everything that may happen would ring it.
func hangUp(on watched) (*bell, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	b := &bell{file: os.NewFile(uintptr(fd), "inotify"), logs: map[int32][]string{}}
	for _, path := range on.files {
		_, fileErr := b.add(path, fileRings)
		err = errors.Join(err, fileErr)
	}
	for _, path := range on.dirs {
		_, dirErr := b.add(path, dirRings)
		err = errors.Join(err, dirErr)
	}
	for _, path := range on.copies {
		number, dirErr := b.add(filepath.Dir(path), heraldRings)
		err = errors.Join(err, dirErr)
		b.logs[number] = append(b.logs[number], path)
	}
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bell) add(path string, rings uint32) (number int32, err error) {
	if !tellsAll(path) {
		return 0, errNoEvents
	}
	n, err := unix.InotifyAddWatch(int(b.fd()), path, rings)
	return int32(n), err
}

// fd is the descriptor. [os.File.Fd] would have reads block.
func (b *bell) fd() (fd uintptr) {
	if conn, err := b.file.SyscallConn(); err == nil {
		_ = conn.Control(func(n uintptr) { fd = n }) // fails on a closed file alone
	}
	return fd
}

// tellsAll tells whether a file is on one of the file systems that only this kernel writes to: of what another machine
// or program writes there is no word from a network or user-space file system.
func tellsAll(path string) bool {
	var fs unix.Statfs_t
	if unix.Statfs(path, &fs) != nil {
		return false
	}
	switch uint32(fs.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.F2FS_SUPER_MAGIC,
		zfsMagic:
		return true
	}
	return false
}

// zfsMagic is ZFS_SUPER_MAGIC, which is not in the kernel's own headers.
const zfsMagic = 0x2fc12fc1

// wait waits until it rings or d is over. It fails only when ctx is done, or for good.
func (b *bell) wait(ctx context.Context, d time.Duration) (rang bool, err error) {
	stop := context.AfterFunc(ctx, func() { _ = b.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := b.file.SetReadDeadline(time.Now().Add(d)); err != nil {
		return false, err
	}
	if ctx.Err() != nil { // its end may have set its deadline just before ours
		return false, ctx.Err()
	}
	var events [4096]byte
	for {
		n, err := b.file.Read(events[:])
		b.wear(events[:max(n, 0)])
		switch {
		case ctx.Err() != nil:
			return rang, ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded):
			return rang, nil
		case err != nil:
			return rang, err
		case n < len(events)-unix.SizeofInotifyEvent-unix.NAME_MAX-1:
			return true, nil // all that there was: the next look sees what it was about
		}
		rang = true
	}
}

// wears is what happens to what a bell hangs on that has another one do better.
const wears = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_IGNORED | unix.IN_UNMOUNT | unix.IN_Q_OVERFLOW | unix.IN_ISDIR

// wear looks through what was told: each is a struct inotify_event and a name.
func (b *bell) wear(events []byte) {
	for len(events) >= unix.SizeofInotifyEvent {
		what := binary.NativeEndian.Uint32(events[4:])
		b.worn = b.worn || what&wears != 0
		end := min(unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(events[12:])), len(events))
		if b.copied != nil && what&(unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE) != 0 {
			name, _, _ := bytes.Cut(events[unix.SizeofInotifyEvent:end], []byte{0})
			b.tellCopy(int32(binary.NativeEndian.Uint32(events)), name)
		}
		events = events[end:]
	}
}

// tellCopy tells of a file where it is named after a log. A packed one is mostly made of an older copy.
func (b *bell) tellCopy(number int32, name []byte) {
	for _, path := range b.logs[number] {
		base := filepath.Base(path)
		if stem := strings.TrimSuffix(base, filepath.Ext(base)); !bytes.HasPrefix(name, []byte(stem)) {
			continue
		}
		if rotated, ok := parseRotated(string(name), base); ok && !rotated.packed {
			b.copied(filepath.Join(filepath.Dir(path), string(name)))
			return
		}
	}
}

func (b *bell) close() { b.file.Close() }
