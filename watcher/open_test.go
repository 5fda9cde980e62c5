package watcher

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/ctwarden/ctwarden/remediate"
)

// packers pack as logrotate may be told to.
var packers = map[string]func(testing.TB, []byte) []byte{
	"plain": func(_ testing.TB, b []byte) []byte { return b },
	"gz":    func(t testing.TB, b []byte) []byte { return packed(t, b, gzipWriter) },
	"zst":   func(t testing.TB, b []byte) []byte { return packed(t, b, zstdWriter) },
	"xz":    func(t testing.TB, b []byte) []byte { return packed(t, b, xzWriter) },
}

func gzipWriter(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }
func zstdWriter(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }
func xzWriter(w io.Writer) (io.WriteCloser, error)   { return xz.NewWriter(w) }

func packed(t testing.TB, b []byte, packer func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := packer(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// tempLog writes a file whose name says nothing about what is in it.
func tempLog(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// scanLog opens and scans a file.
func scanLog(t testing.TB, path string) (Stats, error) {
	t.Helper()
	r, err := OpenLog(path)
	if err != nil {
		return Stats{}, err
	}
	stats, err := ScanReader(t.Context(), r, NewLineParser(lineConfig()), func(remediate.Match) error { return nil })
	return stats, errors.Join(err, r.Close())
}

func TestOpenLog(t *testing.T) {
	text := []byte(strings.Repeat(scanText+"\n", 500))
	_, want := scan(t, bytes.NewReader(text), lineConfig())
	for name, pack := range packers {
		t.Run(name, func(t *testing.T) {
			if got, err := scanLog(t, tempLog(t, pack(t, text))); err != nil || got != want {
				t.Errorf("%+v, %v; want %+v", got, err, want)
			}
		})
		t.Run(name+", two together", func(t *testing.T) {
			half := len(scanText+"\n") * 250
			data := append(pack(t, text[:half]), pack(t, text[half:])...)
			if got, err := scanLog(t, tempLog(t, data)); err != nil || got != want {
				t.Errorf("%+v, %v; want %+v", got, err, want)
			}
		})
		t.Run(name+", cut off", func(t *testing.T) {
			data := pack(t, text)
			got, err := scanLog(t, tempLog(t, data[:len(data)-20]))
			if fails := err != nil; fails != (name != "plain") {
				t.Errorf("%+v, %v", got, err)
			}
		})
		t.Run(name+", empty", func(t *testing.T) {
			if got, err := scanLog(t, tempLog(t, pack(t, nil))); err != nil || got != (Stats{}) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// TestOpenLogBzip2 reads what bzip2 made of one line, since Go has no writer for it.
func TestOpenLogBzip2(t *testing.T) {
	const data = "QlpoOTFBWSZTWWtCrugAAA5fgAAQQAR0EAACAAC/7dcAIABUNTRPRMmBBpjQSqeKNMjRoaB6mju0MNsY5HCd3qWWMjRoeCmvRSh9vUKk83mIMhOuFkft0i0aQQDwZwOVB1omvFk2LuSKcKEg1oVd0A=="
	raw, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := scanLog(t, tempLog(t, raw)); err != nil || got.Matches != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := scanLog(t, tempLog(t, raw[:len(raw)-10])); err == nil {
		t.Error("cut off, but no error")
	}
}

// TestOpenLogStandardInput is one process's: it hands a pipe to os.Stdin.
func TestOpenLogStandardInput(t *testing.T) {
	data := packers["gz"](t, []byte(scanText))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin := os.Stdin
	os.Stdin = r
	t.Cleanup(func() { os.Stdin = stdin })
	if _, err := w.Write(data); err != nil { // less than a pipe holds
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := scanLog(t, "-"); err != nil || got.Matches != 7 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestOpenLogErrors(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ path, want string }{
		"missing":                          {filepath.Join(dir, "none"), "no such file"},
		"directory":                        {dir, "it is a directory"},
		"broken gzip":                      {tempLog(t, []byte("\x1f\x8b\x08nothing of the kind follows here")), ""},
		"huge xz window":                   {tempLog(t, hugeXZ()), "a window of more than 64 MiB"},
		"huge zstd window":                 {tempLog(t, []byte("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00\x00\x00\x00\x00")), "a window of more than 64 MiB"},
		"huge xz window in a later block":  {tempLog(t, append(smallXZ(t), hugeXZ()[12:]...)), "a window of more than 64 MiB"},
		"huge xz window in a later stream": {tempLog(t, append(packers["xz"](t, []byte(scanText)), hugeXZ()...)), "a window of more than 64 MiB"},
		"xz header cut off":                {tempLog(t, hugeXZ()[:14]), ""},
		"xz filter written long":           {tempLog(t, []byte(strings.Replace(string(hugeXZ()), "\x21\x01\x25\x00", "\xa1\x00\x01\x25", 1))), "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := scanLog(t, c.path); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, error %v; want %q", got, err, c.want)
			}
		})
	}
}

// hugeXZ is the start of an xz file whose block has both sizes and wants a dictionary of 1.5 GiB.
func hugeXZ() []byte {
	return []byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46" + "\x03\xc0\xff\x01\xff\x01\x21\x01\x25\x00\x00\x00\x00\x00\x00\x00" + strings.Repeat("\x00", 40))
}

// smallXZ is an xz file up to the end of its one block.
func smallXZ(t testing.TB) []byte {
	whole := packers["xz"](t, []byte(scanText))
	const footer = 12
	index := 4 * (1 + int(binary.LittleEndian.Uint32(whole[len(whole)-footer+4:])))
	return whole[:len(whole)-footer-index]
}

// TestOpenLogXZ reads what the package's own writer makes, with every kind of check, several blocks, several streams
// and padding, in chunks of every size.
func TestOpenLogXZ(t *testing.T) {
	text := []byte(strings.Repeat(scanText+"\n", 300))
	_, want := scan(t, bytes.NewReader(append(text, text...)), lineConfig())
	for name, cfg := range map[string]xz.WriterConfig{
		"no check":    {NoCheckSum: true},
		"crc32":       {CheckSum: xz.CRC32},
		"crc64":       {CheckSum: xz.CRC64},
		"sha256":      {CheckSum: xz.SHA256},
		"many blocks": {BlockSize: 10_001},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.DictCap = 1 << 16
			one := packed(t, text, func(w io.Writer) (io.WriteCloser, error) { return cfg.NewWriter(w) })
			for pad := range 3 {
				data := slices.Concat(one, make([]byte, 4*pad), one, make([]byte, 4*pad))
				for _, size := range []int{1, 7, 4096} {
					r, err := unpack(&chunkReader{bytes.NewReader(data), []int{size}, 0})
					if err != nil {
						t.Fatal(err)
					}
					if _, got := scan(t, r, lineConfig()); got != want {
						t.Errorf("padding %d, chunks of %d: %+v, want %+v", 4*pad, size, got, want)
					}
				}
			}
			for cut := 1; cut < len(one); cut += 1 + cut/8 {
				r, err := unpack(bytes.NewReader(one[:len(one)-cut]))
				if err == nil {
					_, err = io.Copy(io.Discard, r)
				}
				if err == nil && len(one)-cut >= magicLen {
					t.Errorf("cut off by %d of %d bytes, but no error", cut, len(one))
				}
			}
		})
	}
}

// TestOpenLogMemory unpacks 100 MiB of nothing from files of a few KiB.
func TestOpenLogMemory(t *testing.T) {
	const size = 100 << 20
	for name, packer := range map[string]func(io.Writer) (io.WriteCloser, error){"gz": gzipWriter, "zst": zstdWriter} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bomb")
			file, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			w, err := packer(file)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(w, endless{}, size); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(w.Close(), file.Close()); err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			stats, err := scanLog(t, path)
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; err != nil || stats.Bytes != size || used > 40<<20 {
				t.Errorf("%+v, %v: %d MiB unpacked took %d MiB", stats, err, size>>20, used>>20)
			}
		})
	}
}

func BenchmarkOpenLog(b *testing.B) {
	text := logBlock(20 << 20)
	for _, name := range []string{"plain", "gz", "zst", "xz"} {
		b.Run(name, func(b *testing.B) {
			path := tempLog(b, packers[name](b, text))
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if stats, err := scanLog(b, path); err != nil || stats.Bytes != uint64(len(text)) {
					b.Fatal(fmt.Errorf("%+v: %w", stats, err))
				}
			}
		})
	}
}
