package watcher

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
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
	off  int64
	mark []byte // the last bytes before off, at most markSize
	// skipping is true while the end of a line that is too long is looked for.
	skipping bool
	// copied is true for a copy that a rotation left behind: it does not grow.
	copied bool
	end    int64 // size when last looked at
	// size and changed are as when it was last read to its end.
	size    int64
	changed time.Time
	grown   time.Time // when something was last read
	tail    *tailer   // nil until the live end is read
}

// openLog opens a regular file and nothing else, at its beginning.
func openLog(path string) (*logFile, error) {
	info, err := os.Stat(path) // first, since opening a pipe or a device may have effects
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
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
	return &logFile{File: f, id: idOf(info), size: -1}, nil
}

// close ends the file and its tail.
func (f *logFile) close() error {
	var err error
	if f.tail != nil {
		err = f.tail.close()
	}
	return errors.Join(err, f.Close())
}

// seek goes to off, which is behind a line, and takes the mark there.
func (f *logFile) seek(off int64) error {
	mark := make([]byte, min(off, markSize))
	if _, err := f.ReadAt(mark, off-int64(len(mark))); err != nil {
		return fmt.Errorf("read %s at %d: %w", f.Name(), off, err)
	}
	f.off, f.mark, f.skipping, f.size = off, mark, false, -1
	return nil
}

// seekLine goes to the first line that begins at or behind off.
func (f *logFile) seekLine(off int64) error {
	if off <= 0 {
		return f.seek(0)
	}
	if err := f.seek(off - 1); err != nil {
		return err
	}
	f.skipping = true
	return nil
}

// matches tells whether the file has, before off, what print is the print of.
func (f *logFile) matches(off int64, print string) bool {
	mark := make([]byte, min(off, markSize))
	n, err := f.ReadAt(mark, off-int64(len(mark)))
	return n == len(mark) && (err == nil || errors.Is(err, io.EOF)) && printOf(mark) == print
}

// printOf is the fingerprint of a mark; of no bytes, "".
func printOf(mark []byte) string {
	if len(mark) == 0 {
		return ""
	}
	sum := sha256.Sum256(mark)
	return hex.EncodeToString(sum[:16])
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
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	if f.idle(info) {
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
	f.end = info.Size()
	if n < len(buf) {
		f.size, f.changed = info.Size(), info.ModTime()
	}
	return buf[k:n], n == len(buf), nil
}

// advance moves the position over the first n bytes of what read has put into buf.
func (f *logFile) advance(buf []byte, n int) {
	end := len(f.mark) + n
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
	return f.seek(end)
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
