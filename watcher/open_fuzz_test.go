package watcher

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// unpackAtMost bounds what one input of the fuzzer may unpack to.
const unpackAtMost = 1 << 20

// FuzzUnpack: damaged archives end in an error and not in a panic, and what is read does not depend on how the bytes
// arrive.
func FuzzUnpack(f *testing.F) {
	text := []byte("Mar  1 10:00:30 hv042 kernel: " + plainMessage + "\n")
	for _, seed := range archives(f, bytes.Repeat(text, 20)) {
		f.Add(seed)
		f.Add(append(bytes.Clone(seed), seed...))
		f.Add(seed[:len(seed)/2])
	}
	f.Add([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"))
	f.Add(text)
	f.Fuzz(func(t *testing.T, data []byte) {
		whole, wholeErr := unpacked(bytes.NewReader(data))
		bits, bitsErr := unpacked(iotest.OneByteReader(bytes.NewReader(data)))
		if (wholeErr == nil) != (bitsErr == nil) {
			t.Fatalf("%q at once: %v, byte by byte: %v", data, wholeErr, bitsErr)
		}
		if wholeErr == nil && !bytes.Equal(whole, bits) {
			t.Fatalf("%q at once: %q, byte by byte: %q", data, whole, bits)
		}
	})
}

// unpacked is what a reader holds, the first megabyte of it.
func unpacked(r io.Reader) ([]byte, error) {
	in, err := unpack(r)
	if err != nil {
		return nil, err
	}
	if z, ok := in.(*zstd.Decoder); ok {
		defer z.Close()
	}
	return io.ReadAll(io.LimitReader(in, unpackAtMost))
}

// FuzzPackedRoundTrip: what gzip, xz and zstd made of a text is that text again.
func FuzzPackedRoundTrip(f *testing.F) {
	f.Add([]byte("a line\n"), uint16(3))
	f.Add([]byte("\x00\xff"), uint16(999))
	f.Fuzz(func(t *testing.T, text []byte, times uint16) {
		text = bytes.Repeat(text, 1+int(times)%1000)
		if len(text) == 0 || len(text) >= unpackAtMost {
			return
		}
		for kind, data := range archives(t, text) {
			if got, err := unpacked(bytes.NewReader(data)); err != nil || !bytes.Equal(got, text) {
				t.Fatalf("%s: %d bytes became %d, %v", kind, len(text), len(got), err)
			}
		}
	})
}

// archives is a text in the three forms that this program's libraries can write.
func archives(t testing.TB, text []byte) map[string][]byte {
	t.Helper()
	var gz, zst, x bytes.Buffer
	z, err := zstd.NewWriter(&zst, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstd.MinWindowSize))
	if err != nil {
		t.Fatal(err)
	}
	xw, err := xz.WriterConfig{DictCap: 1 << 16}.NewWriter(&x)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{gzip.NewWriter(&gz), z, xw} {
		_, err := w.Write(text)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return map[string][]byte{"gzip": gz.Bytes(), "zstd": zst.Bytes(), "xz": x.Bytes()}
}
