package watcher

import (
	"bytes"
	"errors"
	"io"

	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// unpackXZ unpacks what in holds. The package that does it takes as much memory as each block asks for, and does not
// notice a file that is cut off inside a block's header; the guard before it does.
func unpackXZ(in io.Reader) (io.Reader, error) {
	guard := &xzGuard{in: in}
	guard.expect(xzStream, xzStreamHeader)
	out, err := xz.ReaderConfig{DictCap: lzma.MinDictCap}.NewReader(guard)
	if err != nil {
		return nil, err
	}
	return &xzReader{out: out, guard: guard}, nil
}

type xzReader struct {
	out   io.Reader
	guard *xzGuard
}

func (r *xzReader) Read(p []byte) (int, error) {
	n, err := r.out.Read(p)
	if err == io.EOF && !r.guard.whole() {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// xzGuard reads in and goes through the structure of the xz format (version 1.2.1) and of LZMA2's chunks along with it.
// Before it lets the end of a block's header pass, it looks at how large a dictionary the block wants: errWindow.
type xzGuard struct {
	in  io.Reader
	err error

	state xzState
	need  int    // how many bytes of the present part are still to come
	part  []byte // what came of it, where it is kept
	check int    // the size of each block's check, in bytes
	size  int    // of the present block's data, or index, so far, modulo 4
	left  uint64 // how many numbers of the index are still to come
}

// xzState is a part of the format.
type xzState int

const (
	xzStream      xzState = iota // the header of a stream, or padding between two
	xzBlockSize                  // the first byte of a block's header, or of the index
	xzBlock                      // the rest of a block's header
	xzControl                    // the first byte of a chunk
	xzChunk                      // the rest of a chunk's header
	xzChunkData                  // a chunk's data
	xzBlockEnd                   // padding and check
	xzIndexCount                 // the number of records of the index
	xzIndexNumber                // a number of a record
	xzStreamEnd                  // padding, check and footer
)

const (
	xzStreamHeader = 12
	xzFooter       = 12
	xzIndexCheck   = 4
)

var errXZ = errors.New("the xz file is damaged")

func (g *xzGuard) Read(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	n, err := g.in.Read(p)
	for i := 0; i < n; {
		step := min(g.need, n-i)
		if g.state != xzChunkData && g.state != xzBlockEnd && g.state != xzStreamEnd {
			g.part = append(g.part, p[i:i+step]...)
		}
		if g.need -= step; g.need == 0 {
			if g.err = g.next(); g.err != nil {
				return i + step - 1, nil // all but the byte that completed the part
			}
		}
		i += step
	}
	return n, err
}

// whole tells whether the file may end here.
func (g *xzGuard) whole() bool { return g.state == xzStream && len(g.part)%4 == 0 && isZero(g.part) }

// expect goes to a part of so many bytes.
func (g *xzGuard) expect(state xzState, bytes int) {
	g.state, g.need, g.part = state, bytes, g.part[:0]
}

// next finds out what follows the part that is complete.
func (g *xzGuard) next() error {
	switch g.state {
	case xzStream:
		g.stream()
	case xzBlockSize:
		if g.part[0] == 0 {
			g.size = 1
			g.expect(xzIndexCount, 1)
		} else {
			g.expect(xzBlock, int(g.part[0])*4+3)
		}
	case xzBlock:
		window, ok := xzWindow(g.part)
		switch {
		case !ok:
			return errXZ
		case window > maxWindow:
			return errWindow
		}
		g.size = 0
		g.expect(xzControl, 1)
	case xzControl:
		return g.control(g.part[0])
	case xzChunk:
		g.chunk()
	case xzChunkData:
		g.expect(xzControl, 1)
	case xzBlockEnd:
		g.expect(xzBlockSize, 1)
	case xzIndexCount, xzIndexNumber:
		return g.number()
	case xzStreamEnd:
		g.expect(xzStream, xzStreamHeader)
	}
	return nil
}

// stream reads the header of a stream, which says how large the checks are. Padding comes four bytes at a time.
func (g *xzGuard) stream() {
	if isZero(g.part[:4]) {
		g.part = append(g.part[:0], g.part[4:]...)
		g.need = 4
		return
	}
	// 0, 4, 8, 16, 32 and 64 bytes, three kinds each but the first.
	kind := int(g.part[7] & 0x0f)
	g.check = 0
	if kind > 0 {
		g.check = 4 << ((kind - 1) / 3)
	}
	g.expect(xzBlockSize, 1)
}

// control reads the first byte of a chunk: its kind.
func (g *xzGuard) control(kind byte) error {
	g.size++
	switch {
	case kind == 0:
		end := padding(g.size) + g.check
		if end == 0 {
			g.expect(xzBlockSize, 1)
		} else {
			g.expect(xzBlockEnd, end)
		}
	case kind <= 2:
		g.expect(xzChunk, 2)
	case kind < 0x80:
		return errXZ
	case kind < 0xc0:
		g.expect(xzChunk, 4)
	default:
		g.expect(xzChunk, 5)
	}
	return nil
}

// chunk reads the header of a chunk, in which the size of the data stands last, before the properties if there are any.
func (g *xzGuard) chunk() {
	size := g.part[:2]
	if len(g.part) > 2 {
		size = g.part[2:4]
	}
	data := int(size[0])<<8 + int(size[1]) + 1
	g.size = (g.size + len(g.part) + data) & 3
	g.expect(xzChunkData, data)
}

// number reads one byte of a number of the index, seven bits each; the first number counts pairs of others.
func (g *xzGuard) number() error {
	g.size = (g.size + 1) & 3
	if g.part[len(g.part)-1]&0x80 != 0 {
		if len(g.part) == 9 {
			return errXZ
		}
		g.need = 1
		return nil
	}
	if g.state == xzIndexCount {
		n := uint64(0)
		for i, b := range g.part {
			n |= uint64(b&0x7f) << (7 * i)
		}
		g.left = 2 * n
	} else {
		g.left--
	}
	if g.left > 0 {
		g.expect(xzIndexNumber, 1)
	} else {
		g.expect(xzStreamEnd, padding(g.size)+xzIndexCheck+xzFooter)
	}
	return nil
}

func isZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// padding is how many bytes are missing to a multiple of four.
func padding(size int) int { return -size & 3 }

// xzWindow is the size of the dictionary that a block asks for, by its header from behind the size (sections 3.1 and
// 5.3.1 of the format). With more filters than one it is 0: they cannot be unpacked.
func xzWindow(header []byte) (window uint64, ok bool) {
	flags, at := header[0], 1
	if flags&0x03 != 0 {
		return 0, true
	}
	for _, present := range []byte{0x40, 0x80} {
		if flags&present == 0 {
			continue
		}
		for at < len(header) && header[at]&0x80 != 0 {
			at++
		}
		at++
	}
	const lzma2 = 0x21
	if at+2 >= len(header) || header[at] != lzma2 || header[at+1] != 1 {
		return 0, false
	}
	bits := uint64(header[at+2])
	if bits > 39 {
		return 1 << 32, true
	}
	return (2 | bits&1) << (bits/2 + 11), true
}
