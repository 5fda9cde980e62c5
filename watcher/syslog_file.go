package watcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// markSize is how many bytes before the position identify a file's content.
	markSize = 256
	// blockSize is how much is read at a time.
	blockSize = 256 << 10
)

var (
	// errOlder says that the file in front is not the next to be read: older ones were put before it.
	errOlder = errors.New("older files are to be read first")
	// errRewritten says that the bytes before the position are not those that were read: truncated, or truncated and
	// written anew.
	errRewritten = errors.New("the file was truncated")
	errNotFile   = errors.New("it is not a regular file")
)

// fileID identifies a file on this host, as long as it exists.
type fileID struct {
	Dev uint64 `json:"dev"`
	Ino uint64 `json:"ino"`
}

func idOf(info fs.FileInfo) fileID {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileID{}
	}
	return fileID{Dev: uint64(st.Dev), Ino: st.Ino}
}

// logFile is one open file and how far it was read. The position is always behind a whole line, or, while skipping, in
// the middle of one that is too long.
type logFile struct {
	*os.File
	id   fileID
	real string // the path that its name comes from, where the path of the log is a link to that
	off  int64
	mark []byte // the last bytes before off, at most markSize
	head []byte // the first bytes, at most markSize and up to off
	// skipping is true while the end of a line that is too long is looked for.
	skipping bool
	// copied is true for a copy that a rotation left behind, packed or not: it does not grow.
	copied bool
	// packed says that the file is packed: off counts what is in it. Then unpacked reads it, nil until that begins, and
	// first is what it begins with, nil until that was asked for.
	packed   bool
	unpacked *unpacker
	first    []byte
	broken   bool // it was said that the rest cannot be unpacked
	// known is what was rotated before this file was begun, at the path or anew after it was truncated. Nil where the
	// file never was the last of the queue.
	known *knownFiles
	end   int64 // size when last looked at
	// touched is when the file was changed last, as far as that is known.
	touched time.Time
	// size and changed are as when it was last read to its end.
	size    int64
	changed time.Time
	grown   time.Time // when something was last read
	// followed is since when it is read to its end, while its successor has something.
	followed time.Time
	tail     *tailer // nil until the live end is read
	growth   growth
}

// openLog opens a regular file and nothing else, at its beginning.
func openLog(path string) (*logFile, error) {
	now := time.Now()
	info, err := os.Stat(path) // first, since opening a pipe or a device may have effects
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || inProc(path) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errNotFile}
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errNotFile}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	l := &logFile{File: f, id: idOf(info), size: -1, end: info.Size(), touched: info.ModTime()}
	l.growth.look(now, info.Size())
	return l, nil
}

// inProc tells whether the file is one of the kernel's own, which are called regular and are none: reading them may have
// effects, as with /proc/kmsg.
func inProc(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && (st.Type == unix.PROC_SUPER_MAGIC || st.Type == unix.SYSFS_MAGIC)
}

// close ends the file and its tail.
func (f *logFile) close() error {
	var err error
	f.stopUnpacking()
	if f.tail != nil {
		err = f.tail.close()
	}
	return errors.Join(err, f.Close())
}

// idle tells whether the file is as it was when it was last read to its end.
func (f *logFile) idle(info fs.FileInfo) bool {
	return info.Size() == f.size && info.ModTime().Equal(f.changed)
}

// unread is how many bytes behind the position were there when the file was last looked at.
func (f *logFile) unread() int64 { return max(0, f.end-f.off) }

// read reads on from the position into buf, which is of markSize+blockSize bytes, and returns what is new, valid until
// the next read; more is true where the file goes on behind it. It fails with errRewritten where the bytes before the
// position have changed: they are read in the same call, so that nothing is taken from a file that was truncated and
// grew beyond the position again.
func (f *logFile) read(buf []byte) (data []byte, more bool, err error) {
	if f.packed {
		return f.readPacked(buf)
	}
	now := time.Now()
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	if f.idle(info) {
		f.growth.look(now, f.size)
		return nil, false, nil
	}
	k := len(f.mark)
	n, err := f.ReadAt(buf, f.off-int64(k))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	if n < k || !bytes.Equal(buf[:k], f.mark) {
		return nil, false, errRewritten
	}
	if k > 0 { // else it may be another content each time
		f.growth.look(now, info.Size())
	}
	f.end, f.touched = info.Size(), info.ModTime()
	if n < len(buf) {
		f.size, f.changed = info.Size(), info.ModTime()
	}
	return buf[k:n], n == len(buf), nil
}

// advance moves the position over the first n bytes of what read has put into buf.
func (f *logFile) advance(buf []byte, n int) {
	end := len(f.mark) + n
	if missing := markSize - len(f.head); missing > 0 {
		f.head = append(f.head, buf[len(f.mark):][:min(n, missing)]...)
	}
	if f.packed {
		f.unpacked.take(n)
	}
	f.mark = bytes.Clone(buf[max(0, end-markSize):end])
	f.off += int64(n)
	f.size = -1 // what is behind the position has yet to be looked at
}

// passHole moves the position, which is at NUL bytes, to the end of the hole if it is in one. A file that is truncated
// while a program writes to it at its own offset has a hole of any size at its front.
func (f *logFile) passHole() error {
	end, err := unix.Seek(int(f.Fd()), f.off, unix.SEEK_DATA)
	if err != nil || end <= f.off {
		return nil // no hole, or a file system that cannot tell
	}
	return f.seek(context.Background(), end)
}

// deleted tells whether the file has no name any more.
func (f *logFile) deleted() bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 0
}

// wholeLines is the length of the lines of data that have an end.
func wholeLines(data []byte) int { return bytes.LastIndexByte(data, '\n') + 1 }
