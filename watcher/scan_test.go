package watcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ctwarden/ctwarden/remediate"
)

// scan reads r with a parser for cfg and returns what came out.
func scan(t testing.TB, r io.Reader, cfg LineConfig) ([]remediate.Match, Stats) {
	t.Helper()
	var got []remediate.Match
	stats, err := ScanReader(t.Context(), r, NewLineParser(cfg), func(m remediate.Match) error {
		got = append(got, m)
		return nil
	})
	if err != nil {
		t.Fatalf("ScanReader: %v", err)
	}
	return got, stats
}

const scanText = "Mar  1 10:00:00 hv042 kernel: " + plainMessage + "\n" +
	"Mar  1 10:00:01 hv043 kernel: " + plainMessage + "\n" +
	"Mar  1 10:00:30 hv042 last message repeated 3 times\n" +
	"Mar  1 10:01:30 hv042 last message repeated 2 times\n" +
	"Mar  1 10:02:00 hv042 sshd[1]: hello\n" +
	"Mar  1 10:02:00 hv042 last message repeated 9 times\n" +
	"Mar  1 10:02:00 hv042 sshd[1]: " + plainMessage + "\n" +
	"\n" +
	"Mar  1 10:02:01 hv042 kernel: net_ratelimit: 40 callbacks suppressed\n" +
	"Mar  1 10:02:02 hv042 kernel: " + plainMessage + "s\n" +
	"Mar  1 10:02:03 hv042 kernel: " + plainMessage

func TestScanReader(t *testing.T) {
	matches, got := scan(t, strings.NewReader(scanText), lineConfig())
	want := Stats{Records: 11, Bytes: uint64(len(scanText)), Matches: 7, Suppressed: 40, NotKernel: 1, OtherHost: 1, Unparsed: 1}
	if got != want {
		t.Errorf("stats %+v\nwant  %+v", got, want)
	}
	var counts []int
	for _, m := range matches {
		counts = append(counts, m.Count)
	}
	if !slices.Equal(counts, []int{1, 3, 2, 0, 1}) {
		t.Errorf("counts %v", counts)
	}
}

// TestScanReaderChunks: how the reader cuts its input makes no difference.
func TestScanReaderChunks(t *testing.T) {
	text := strings.Repeat(scanText+"\n", 40) + strings.Repeat("x", maxLine+5) + plainMessage + "\n" + scanText
	want, wantStats := scan(t, strings.NewReader(text), lineConfig())
	for name, r := range map[string]io.Reader{
		"bytes":          iotest.OneByteReader(strings.NewReader(text)),
		"halves":         iotest.HalfReader(strings.NewReader(text)),
		"end with data":  iotest.DataErrReader(strings.NewReader(text)),
		"a prime number": &chunkReader{strings.NewReader(text), []int{4093}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, stats := scan(t, r, lineConfig())
			if !slices.Equal(got, want) || stats != wantStats {
				t.Errorf("%d matches, %+v; want %d, %+v", len(got), stats, len(want), wantStats)
			}
		})
	}
}

// chunkReader reads as many bytes at a time as sizes say, over and over.
type chunkReader struct {
	io.Reader
	sizes []int
	next  int
}

func (r *chunkReader) Read(p []byte) (int, error) {
	n := min(max(r.sizes[r.next%len(r.sizes)], 1), len(p))
	r.next++
	return r.Reader.Read(p[:n])
}

func TestScanReaderLongLines(t *testing.T) {
	kernel := "Mar  1 10:00:00 hv042 kernel: " + plainMessage
	for _, c := range []struct {
		name, text string
		want       Stats
	}{
		{"empty", "", Stats{}},
		{"only ends", "\n\n\n", Stats{Records: 3}},
		{"no end", kernel, Stats{Records: 1, Matches: 1}},
		{"NUL bytes before", strings.Repeat("\x00", 4096) + kernel + "\n", Stats{Records: 1, Matches: 1}},
		{"longest", kernel + strings.Repeat(" ", maxLine-1-len(kernel)) + "\n", Stats{Records: 1, Matches: 1}},
		{"too long", kernel + strings.Repeat(" ", maxLine-len(kernel)) + "\n", Stats{Records: 1, Unparsed: 1}},
		{"too long, no end", kernel + strings.Repeat(" ", 3*scanBlock), Stats{Records: 1, Unparsed: 1}},
		{"too long, phrase far behind", strings.Repeat("x", 2*scanBlock) + kernel + "\n", Stats{Records: 1}},
		{"a match behind it", strings.Repeat("x", 2*scanBlock) + "\n" + kernel + "\n", Stats{Records: 2, Matches: 1}},
		{"no repeat across it", kernel + "\n" + strings.Repeat("x", 2*scanBlock) + "\nMar  1 10:00:00 hv042 last message repeated 3 times\n",
			Stats{Records: 3, Matches: 1}},
		{"invalid UTF-8", "\xff\xfe\xfd\n" + kernel + "\n", Stats{Records: 2, Matches: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Bytes = uint64(len(c.text))
			if _, got := scan(t, strings.NewReader(c.text), lineConfig()); got != c.want {
				t.Errorf("stats %+v\nwant  %+v", got, c.want)
			}
		})
	}
}

func TestScanReaderErrors(t *testing.T) {
	broken := errors.New("broken")
	none := func(remediate.Match) error { return nil }
	parser := func() *LineParser { return NewLineParser(lineConfig()) }
	r := io.MultiReader(strings.NewReader(scanText+"\n"), iotest.ErrReader(broken))
	if stats, err := ScanReader(t.Context(), r, parser(), none); !errors.Is(err, broken) || stats.Records != 11 {
		t.Errorf("a reader that breaks: %+v, %v", stats, err)
	}
	emit := func(remediate.Match) error { return broken }
	if _, err := ScanReader(t.Context(), strings.NewReader(scanText), parser(), emit); !errors.Is(err, broken) {
		t.Errorf("a receiver that breaks: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ScanReader(ctx, endless{}, parser(), none); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if _, err := ScanReader(t.Context(), stuck{}, parser(), none); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader without progress: %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// TestScanReaderMemory reads 64 MiB of log, and as much of a line without end, in a few megabytes.
func TestScanReaderMemory(t *testing.T) {
	for name, block := range map[string][]byte{
		"log":              logBlock(1 << 20),
		"line without end": bytes.Repeat([]byte("conntrack: "), 1<<20/11),
	} {
		t.Run(name, func(t *testing.T) {
			const size = 64 << 20
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			scan(t, &repeatReader{block: block, left: size}, lineConfig())
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
				t.Errorf("%d MiB read took %d KiB", size>>20, used>>10)
			}
		})
	}
}

// repeatReader reads block over and over, left bytes in all.
type repeatReader struct {
	block []byte
	at    int
	left  int
}

func (r *repeatReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.left)], r.block[r.at:])
	r.at = (r.at + n) % len(r.block)
	r.left -= n
	return n, nil
}

// logBlock is about size bytes of an ordinary log of many programs, without a match.
func logBlock(size int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "2026-03-01T10:%02d:%02d.%06d+00:00 hv042 ", i/60%60, i%60, i*7919%1000000)
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "kernel: [%7d.%06d] br-int: port %d(tap%06x) entered forwarding state\n", i, i, i%32, i)
		case 1:
			fmt.Fprintf(&b, "sshd[%d]: Connection closed by 192.0.2.%d port %d [preauth]\n", i, i%256, i%65536)
		case 2:
			fmt.Fprintf(&b, "nova-compute[%d]: INFO nova.compute.manager [instance: %08x] VM Resumed (Lifecycle Event)\n", i, i)
		case 3:
			fmt.Fprintf(&b, "systemd[1]: Started session-%d.scope - Session %d of User backup.\n", i, i)
		}
	}
	return b.Bytes()
}

func BenchmarkScanPlain(b *testing.B) { benchmarkScan(b, logBlock(100<<20)) }

// BenchmarkScanStorm has the message in every tenth line.
func BenchmarkScanStorm(b *testing.B) {
	var text bytes.Buffer
	for i, line := range bytes.SplitAfter(logBlock(20<<20), []byte("\n")) {
		if text.Write(line); i%10 == 0 {
			text.WriteString("2026-03-01T10:00:00.123456+00:00 hv042 kernel: [12345.678901] " + plainMessage + "\n")
		}
	}
	benchmarkScan(b, text.Bytes())
}

func benchmarkScan(b *testing.B, text []byte) {
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		scan(b, bytes.NewReader(text), lineConfig())
	}
}

func BenchmarkParseMatch(b *testing.B) {
	line := []byte("2026-03-01T10:00:00.123456+00:00 hv042 kernel: [12345.678901] " + plainMessage)
	p := NewLineParser(lineConfig())
	b.ReportAllocs()
	for b.Loop() {
		p.Parse(line)
	}
}
