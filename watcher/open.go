package watcher

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// maxWindow is the largest window (dictionary) of a compressed file that is accepted, in bytes: what xz -9 uses. Memory
// is bounded by it, however much the file unpacks to.
const maxWindow = 64 << 20

// errWindow says that a file wants more memory than that.
var errWindow = fmt.Errorf("it needs a window of more than %d MiB to unpack; unpack it first and pass it on standard input",
	maxWindow>>20)

// OpenLog opens a log file for reading from its start: plain, or packed by gzip, xz, zstd or bzip2, which is told by its
// first bytes, whatever its name. "-" is standard input, which may be packed too. A packed file is unpacked as it is
// read, in bounded memory.
func OpenLog(path string) (io.ReadCloser, error) {
	file := os.Stdin
	if path != "-" {
		var err error
		if file, err = os.Open(path); err != nil {
			return nil, err
		}
		if info, err := file.Stat(); err == nil && info.IsDir() {
			return nil, errors.Join(fmt.Errorf("open %s: it is a directory; name the files in it", path), file.Close())
		}
	}
	r, err := unpack(file)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), file.Close())
	}
	return &logReader{Reader: r, file: file}, nil
}

// logReader reads from what unpacks a file and closes both.
type logReader struct {
	io.Reader
	file *os.File
}

func (r *logReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if errors.Is(err, zstd.ErrWindowSizeExceeded) {
		err = errWindow
	}
	return n, err
}

func (r *logReader) Close() error {
	if z, ok := r.Reader.(*zstd.Decoder); ok {
		z.Close()
	}
	return r.file.Close()
}

// magicLen is the longest start of a file that is looked at, enough for the first block of an xz file.
const magicLen = 64

// unpack reads what r holds, unpacked if it is packed.
func unpack(r io.Reader) (io.Reader, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := in.Peek(magicLen)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return gzip.NewReader(in)
	case bytes.HasPrefix(head, []byte("BZh")):
		return bzip2.NewReader(in), nil
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		if xzWindow(head) > maxWindow {
			return nil, errWindow
		}
		return unpackXZ(in)
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")), isSkippable(head):
		return unpackZstd(in)
	}
	return in, nil
}

// unpackXZ makes up for a gap in the package: a file cut off inside a block's header seems to end well.
func unpackXZ(in io.Reader) (io.Reader, error) {
	end := new(xzEnd)
	out, err := xz.ReaderConfig{DictCap: lzma.MinDictCap}.NewReader(io.TeeReader(in, end))
	if err != nil {
		return nil, err
	}
	return &xzReader{out: out, end: end}, nil
}

type xzReader struct {
	out io.Reader
	end *xzEnd
}

func (r *xzReader) Read(p []byte) (int, error) {
	n, err := r.out.Read(p)
	if err == io.EOF && string(r.end[:]) != "YZ" {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// xzEnd keeps the last two bytes of an xz file, padding apart: "YZ" where it is whole.
type xzEnd [2]byte

func (e *xzEnd) Write(p []byte) (int, error) {
	data := bytes.TrimRight(p, "\x00")
	for _, b := range data[max(0, len(data)-2):] {
		e[0], e[1] = e[1], b
	}
	return len(p), nil
}

// isSkippable tells whether head starts a frame of zstd's without data, which may precede the others.
func isSkippable(head []byte) bool {
	return len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18"
}

func unpackZstd(in io.Reader) (io.Reader, error) {
	return zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow))
}

// xzWindow is the size of the dictionary that the first block of an xz file asks for (section 3.1 and 5.3.1 of the
// format), which the package that unpacks it would get without a question. 0: it cannot be told.
func xzWindow(head []byte) uint64 {
	const streamHeader = 12
	if len(head) < streamHeader+8 || head[streamHeader] == 0 {
		return 0
	}
	flags, at := head[streamHeader+1], streamHeader+2
	for _, present := range []byte{0x40, 0x80} {
		if flags&present == 0 {
			continue
		}
		for at < len(head) && head[at]&0x80 != 0 {
			at++
		}
		at++
	}
	const lzma2 = 0x21
	if at+2 >= len(head) || head[at] != lzma2 || head[at+1] != 1 {
		return 0
	}
	bits := uint64(head[at+2])
	if bits > 39 {
		return 1 << 32
	}
	return (2 | bits&1) << (bits/2 + 11)
}
