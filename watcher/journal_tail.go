//go:build linux && cgo

package watcher

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// journalTails watches how far the files are written that journald writes to, system.journal in each directory. They
// are held open, so that what stood in one can be told when it has been rotated away and removed. libsystemd closes a
// file that is removed with whatever was unread, never opens one that came and went between two looks, and tells of
// neither.
type journalTails struct {
	dirs  []string
	files map[string]*journalTail // by path
}

// journalTail is one file that journald writes to, or wrote to when it was last looked for.
type journalTail struct {
	file     *os.File
	info     os.FileInfo
	sequence string
	// noted is the number of the last record when that was last looked at, read the same for all that has been read.
	noted, read uint64
	// follows is the number that the file's first record should have; 0: it has been looked at, or is not known.
	follows uint64
}

// openTails begins to watch. What cannot be opened is not watched.
func openTails(dir string) *journalTails {
	t := &journalTails{dirs: journalDirs(dir), files: map[string]*journalTail{}}
	t.look(func(_, _ *journalTail) {})
	return t
}

func (t *journalTails) close() {
	for _, tail := range t.files {
		tail.file.Close()
	}
}

// paths lists the files that journald writes to.
func (t *journalTails) paths() (paths []string) {
	for _, dir := range t.dirs {
		for _, pattern := range []string{"system.journal", "*/system.journal"} {
			found, _ := filepath.Glob(filepath.Join(dir, pattern)) // the pattern is a good one, or nothing is watched
			paths = append(paths, found...)
		}
	}
	return paths
}

// watched is what tells of new records and files: those that journald writes to, and all directories.
func (t *journalTails) watched() (w watched) {
	for _, tail := range t.files {
		w.files = append(w.files, fmt.Sprintf("/proc/self/fd/%d", tail.file.Fd()))
	}
	for _, dir := range t.dirs {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			continue
		}
		below, _ := filepath.Glob(filepath.Join(dir, "*", ".")) // the pattern is a good one
		w.dirs = append(append(w.dirs, dir), below...)
	}
	return w
}

// look opens the files that are new in their place, and hands over each with the one before it; nil: none.
func (t *journalTails) look(renewed func(old, tail *journalTail)) {
	for _, path := range t.paths() {
		old := t.files[path]
		tail := openTail(path, old)
		if tail == nil {
			continue
		}
		t.files[path] = tail
		renewed(old, tail)
		if old != nil {
			old.file.Close()
		}
	}
}

// behind tells whether there is a file that was not there when files last came or went, as libsystemd has it.
func (t *journalTails) behind() bool {
	for _, path := range t.paths() {
		if tail := openTail(path, t.files[path]); tail != nil {
			tail.file.Close()
			return true
		}
	}
	return false
}

// openTail is nil where the file cannot be read or is old.
func openTail(path string, old *journalTail) *journalTail {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	info, err := file.Stat()
	if err != nil || old != nil && os.SameFile(info, old.info) {
		file.Close()
		return nil
	}
	return &journalTail{file: file, info: info, sequence: readHeader(file).sequence}
}

// note notes how far the files are written. If nothing more is found then, all that was noted has been read.
func (t *journalTails) note() {
	if t == nil {
		return
	}
	for _, tail := range t.files {
		if h := tail.header(); h.sequence == tail.sequence {
			tail.noted = h.last
		}
	}
}

// begunAfresh tells whether a file has become another one in its place, as journald makes it of one that was cut off.
// libsystemd goes on with what it had of the old one.
func (t *journalTails) begunAfresh() bool {
	for _, tail := range t.files {
		if tail.header().sequence != tail.sequence {
			return true
		}
	}
	return false
}

// readAll notes that nothing more was found.
func (t *journalTails) readAll() {
	if t == nil {
		return
	}
	for _, tail := range t.files {
		tail.read = tail.noted
	}
}

// span is a range of numbers of records, of whatever kind.
type span struct {
	sequence    string
	first, last uint64
}

// counter counts the records in the span that the journal has, and tells the highest number among them.
type counter func(s span) (n, highest uint64, err error)

// missed tells how many records, of whatever kind, have gone with their file before they could be read, since it was
// last asked. It is to be called when files came or went. What is missing between two files may stand in others: those
// of users, or one that was rotated away too; so it is looked for.
func (t *journalTails) missed(count counter) (lost uint64, err error) {
	var gone []span
	t.look(func(old, tail *journalTail) {
		if old != nil {
			gone = append(gone, old.left(tail)...)
		}
	})
	for _, s := range gone {
		n, _, err := count(s)
		if err != nil {
			return lost, err
		}
		lost += s.last - s.first + 1 - min(n, s.last-s.first+1)
	}
	for _, tail := range t.files {
		n, err := tail.before(count)
		if err != nil {
			return lost, err
		}
		lost += n
	}
	return lost, nil
}

// left is what may be gone with a file that next has taken the place of. Next learns what it follows.
func (t *journalTail) left(next *journalTail) (gone []span) {
	h := t.header()
	if h.sequence != t.sequence {
		// Journald destroys the content of what it vacuums, though others hold it open.
		h = journalHeader{sequence: t.sequence, last: max(t.read, t.follows, 1) - 1}
		if t.read > 0 {
			h.last = t.read
		}
	} else {
		if from := max(t.read+1, h.first); t.removed() && h.last >= from {
			gone = append(gone, span{h.sequence, from, h.last})
		}
		if t.follows > 0 && h.first > t.follows {
			gone = append(gone, span{h.sequence, t.follows, h.first - 1})
		}
	}
	if next.sequence == h.sequence && h.last > 0 { // else journald has begun to count afresh
		next.follows = h.last + 1
	}
	return gone
}

// before tells how many records are gone that lay between the file before this one and this one.
func (t *journalTail) before(count counter) (uint64, error) {
	h := t.header()
	if t.follows == 0 || h.sequence != t.sequence || h.first > 0 && h.first <= t.follows {
		return 0, nil
	}
	s := span{h.sequence, t.follows, math.MaxUint64}
	if h.first > 0 {
		s.last = h.first - 1
	}
	n, highest, err := count(s)
	switch {
	case err != nil:
		return 0, err
	case h.first > 0:
		t.follows = 0
		return s.last - s.first + 1 - n, nil
	case n == 0:
		return 0, nil
	}
	t.follows = highest + 1 // those may be vacuumed before this file has its first record
	return highest - s.first + 1 - n, nil
}

// removed tells whether the file has no name any more.
func (t *journalTail) removed() bool {
	var st unix.Stat_t
	return unix.Fstat(int(t.file.Fd()), &st) == nil && st.Nlink == 0
}

func (t *journalTail) header() journalHeader { return readHeader(t.file) }

// journalHeader is what the header of a journal file tells of its records' numbers; of what is no journal file,
// nothing. The format is fixed and published (systemd.io/JOURNAL_FILE_FORMAT, struct Header).
type journalHeader struct {
	sequence    string // as in a cursor
	first, last uint64 // 0: there are no records yet
}

func readHeader(f *os.File) (h journalHeader) {
	var b [176]byte
	if _, err := f.ReadAt(b[:], 0); err != nil || string(b[:8]) != "LPKSHHRH" {
		return h
	}

	h.sequence = hex.EncodeToString(b[72:88])
	h.last, h.first = binary.LittleEndian.Uint64(b[160:]), binary.LittleEndian.Uint64(b[168:])
	return h
}
