package watcher

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// anchor is a place in a log, told by what stands there: it is found again wherever a rotation has put the log, and
// however that is packed.
type anchor struct {
	Offset int64  `json:"offset"`
	Print  string `json:"print,omitempty"` // fingerprint of the bytes before Offset, at most markSize
	Head   string `json:"head,omitempty"`  // the same of the first bytes up to Offset; empty: unknown
}

// syslogPosition is the saved form of the position.
type syslogPosition struct {
	fileID
	anchor
	Skip bool `json:"skip,omitempty"` // Offset is in a line that is too long
	// Changed is when the file was changed last, in nanoseconds since 1970: where the file is gone, what was changed
	// later has not been read.
	Changed int64 `json:"changed,omitempty"`
	// Next is the file's successor, where it is read to its end.
	Next fileID `json:"next,omitzero"`
	// Real is the path that the file's name came from, where the path was a link to that.
	Real string `json:"real,omitempty"`
}

// found is how an anchor was found in a file.
type found int

const (
	foundNot found = iota
	// foundHere: the file goes on at the anchor, and is now there.
	foundHere
	// foundShort: the file begins like the one that was read and ends before the anchor. It is a copy that was made too
	// early; all of it was read.
	foundShort
	// foundDamaged: the file begins like the one that was read, and cannot be unpacked as far as the anchor.
	foundDamaged
)

// place is where the file was read to.
func (f *logFile) place() anchor {
	return anchor{Offset: f.off, Print: printOf(f.mark), Head: printOf(f.head)}
}

// find looks whether a is in the file, and goes there if it is. It takes as long as unpacking the file as far as that,
// if it is packed and begins as it should.
func (f *logFile) find(ctx context.Context, a anchor) (found, error) {
	head := f.start()
	head = head[:min(int64(len(head)), a.Offset)]
	if a.Head != "" && printOf(head) != a.Head {
		return foundNot, nil
	}
	err := f.seek(ctx, a.Offset)
	switch {
	case ctx.Err() != nil:
		return foundNot, ctx.Err()
	case err == nil && printOf(f.mark) == a.Print:
		return foundHere, nil
	case errors.Is(err, io.EOF) && a.Head != "":
		return foundShort, f.rewind()
	case err != nil && a.Head != "" && f.packed:
		return foundDamaged, f.rewind()
	}
	return foundNot, f.rewind()
}

// seek goes to off, which is behind a line, and takes the mark there.
func (f *logFile) seek(ctx context.Context, off int64) error {
	mark, head, err := f.around(ctx, off)
	if err != nil {
		return fmt.Errorf("read %s at %d: %w", f.Name(), off, err)
	}
	f.off, f.mark, f.head, f.skipping, f.size = off, mark, head, false, -1
	return nil
}

// around reads the bytes before off, and the file's first.
func (f *logFile) around(ctx context.Context, off int64) (mark, head []byte, err error) {
	if f.packed {
		return f.unpackTo(ctx, off)
	}
	mark, head = make([]byte, min(off, markSize)), make([]byte, min(off, markSize))
	if _, err = f.ReadAt(mark, off-int64(len(mark))); err == nil {
		_, err = f.ReadAt(head, 0)
	}
	return mark, head, err
}

// rewind goes to the beginning.
func (f *logFile) rewind() error { return f.seek(context.Background(), 0) }

// seekLine goes to the first line that begins at or behind off.
func (f *logFile) seekLine(off int64) error {
	if off <= 0 {
		return f.rewind()
	}
	if err := f.seek(context.Background(), off-1); err != nil {
		return err
	}
	f.skipping = true
	return nil
}

// start is the beginning of what the file holds, or nothing where it cannot be read.
func (f *logFile) start() []byte {
	if f.packed {
		return f.unpackedStart()
	}
	b := make([]byte, markSize)
	n, _ := f.ReadAt(b, 0)
	return b[:max(n, 0)]
}

// telling says whether a file may be known by how it begins.
func telling(head []byte) bool { return len(bytes.Trim(head, "\x00")) > 0 }

// beginsAs tells whether the file begins with head. Nothing but NUL tells nothing: a writer that goes on at its own
// offset in a file that was truncated leaves a hole at its front, each time.
func (f *logFile) beginsAs(head []byte) bool {
	return telling(head) && bytes.HasPrefix(f.start(), head)
}

// holdsStartOf tells whether f begins with all the lines that q begins with now.
func (f *logFile) holdsStartOf(q *logFile) bool {
	head := q.start()
	if len(head) < markSize {
		head = head[:wholeLines(head)] // the writer may be in the middle of a line
	}
	return f.beginsAs(head)
}

// copyOf tells whether f is a copy of live as far as it goes, which may not be finished: it begins and ends as live has
// it at the same places.
func (f *logFile) copyOf(live *logFile) bool {
	if live == nil || f.packed {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	n := min(info.Size(), markSize)
	for _, at := range []int64{0, info.Size() - n} {
		a, b := make([]byte, n), make([]byte, n)
		if _, err := f.ReadAt(a, at); err != nil {
			return false
		}
		if _, err := live.ReadAt(b, at); err != nil || !bytes.Equal(a, b) {
			return false
		}
	}
	return true
}

// printOf is the fingerprint of a mark; of no bytes, "".
func printOf(mark []byte) string {
	if len(mark) == 0 {
		return ""
	}
	sum := sha256.Sum256(mark)
	return hex.EncodeToString(sum[:16])
}
