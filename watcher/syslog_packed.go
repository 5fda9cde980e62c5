package watcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// errDamaged says that a packed file cannot be unpacked any further.
var errDamaged = errors.New("the packed file is damaged or cut off")

// unpacker reads a packed file from its beginning on. There is no way back: what was read ahead of the position is
// held, at most blockSize.
type unpacker struct {
	in   io.Reader
	held []byte
	err  error // why there is nothing behind held: io.EOF at the end
}

// openUnpacker unpacks f in memory that does not depend on its size.
func openUnpacker(f *logFile) *unpacker {
	if f.end == 0 { // what was packed, be it nothing, is not
		return &unpacker{err: io.ErrUnexpectedEOF}
	}
	in, err := unpack(io.NewSectionReader(f.File, 0, math.MaxInt64))
	return &unpacker{in: in, err: err}
}

// close frees the memory that the unpacking takes. It does not close the file.
func (u *unpacker) close() {
	if z, ok := u.in.(*zstd.Decoder); ok {
		z.Close()
	}
}

// peek fills buf with what comes next. It is short only at the end, be it a bad one.
func (u *unpacker) peek(buf []byte) int {
	n := copy(buf, u.held)
	for idle := 0; n < len(buf) && u.err == nil; idle++ {
		read, err := u.in.Read(buf[n:])
		u.held = append(u.held, buf[n:n+read]...)
		n += read
		if u.err = err; read > 0 {
			idle = 0
		} else if err == nil && idle > 100 {
			u.err = io.ErrNoProgress
		}
	}
	return n
}

// take moves on over n bytes of what peek gave.
func (u *unpacker) take(n int) { u.held = append(u.held[:0], u.held[n:]...) }

// damage is why the file ends where it does, if that is not its end.
func (u *unpacker) damage() error {
	if u.err == nil || errors.Is(u.err, io.EOF) {
		return nil
	}
	return fmt.Errorf("%w: %w", errDamaged, u.err)
}

// unpackTo goes to off in what the file holds, and gives the bytes before it and the first.
func (f *logFile) unpackTo(ctx context.Context, off int64) (mark, head []byte, err error) {
	f.stopUnpacking()
	f.unpacked = openUnpacker(f)
	buf := make([]byte, blockSize)
	for at := int64(0); at < off; {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		n := f.unpacked.peek(buf[:min(int64(len(buf)), off-at)])
		if n == 0 {
			if err := f.unpacked.damage(); err != nil {
				return nil, nil, err
			}
			return nil, nil, io.EOF
		}
		f.unpacked.take(n)
		head = append(head, buf[:min(n, markSize-len(head))]...)
		mark = append(mark, buf[:n]...)
		mark = bytes.Clone(mark[max(0, len(mark)-markSize):])
		at += int64(n)
	}
	return mark, head, nil
}

// unpackedStart is the beginning of what a packed file holds, as far as it can be unpacked.
func (f *logFile) unpackedStart() []byte {
	if f.first == nil {
		u := openUnpacker(f)
		defer u.close()
		buf := make([]byte, markSize)
		f.first = slices.Clip(buf[:u.peek(buf)])
	}
	return f.first
}

// readPacked is read for a packed file, which does not change.
func (f *logFile) readPacked(buf []byte) (data []byte, more bool, err error) {
	if f.unpacked == nil {
		f.unpacked = openUnpacker(f)
	}
	k := copy(buf, f.mark)
	n := f.unpacked.peek(buf[k:])
	data = buf[k : k+n]
	if err := f.unpacked.damage(); err != nil && wholeLines(data) == 0 {
		return nil, false, err
	}
	return data, f.unpacked.err == nil, nil
}

// stopUnpacking frees what unpacking takes.
func (f *logFile) stopUnpacking() {
	if f.unpacked != nil {
		f.unpacked.close()
		f.unpacked = nil
	}
}
