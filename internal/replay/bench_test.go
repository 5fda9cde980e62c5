package replay

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

const benchBytes = 100 << 20

// BenchmarkRun replays files of 100 MiB: an ordinary log with a storm now and then, and one of nothing but the message.
// peak-MB is the most memory that the Go runtime held, of which some is the benchmark's own.
func BenchmarkRun(b *testing.B) {
	for name, every := range map[string]int{"ordinary": 1000, "all matches": 1} {
		b.Run(name, func(b *testing.B) {
			path := benchLog(b, every)
			cfg := config("hv042")
			b.SetBytes(benchBytes)
			b.ResetTimer()
			for b.Loop() {
				report, err := Run(b.Context(), cfg, inputs(path))
				if err != nil || report.Matches == 0 {
					b.Fatalf("%d matches, %v", report.Matches, err)
				}
			}
			var mem runtime.MemStats
			runtime.ReadMemStats(&mem)
			b.ReportMetric(float64(mem.Sys)/(1<<20), "peak-MB")
		})
	}
}

// benchLog writes a log in which one line of every so many is the message.
func benchLog(b *testing.B, every int) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "kern.log")
	file, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriterSize(file, 1<<20)
	start := time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC)
	for i, size := 0, 0; size < benchBytes; i++ {
		at := start.Add(time.Duration(i) * 100 * time.Millisecond)
		text := "br-int: port 7(tap42) entered forwarding state, topology change detected, propagating"
		if i%every == 0 {
			text = message
		}
		n, err := fmt.Fprintf(w, "%s hv042 kernel: [%d.%06d] %s\n", at.Format(time.RFC3339Nano), i/10, i%10*100000, text)
		if err != nil {
			b.Fatal(err)
		}
		size += n
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := file.Close(); err != nil {
		b.Fatal(err)
	}
	return path
}
