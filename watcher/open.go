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

// magicLen is how much of the start of a file is looked at.
const magicLen = 6

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
		return unpackXZ(in)
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")), isSkippable(head):
		return unpackZstd(in)
	}
	return in, nil
}

// isSkippable tells whether head starts a frame of zstd's without data, which may precede the others.
func isSkippable(head []byte) bool {
	return len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18"
}

func unpackZstd(in io.Reader) (io.Reader, error) {
	return zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow))
}
