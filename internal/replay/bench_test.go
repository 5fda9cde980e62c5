package replay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// maxRSS is the most memory that a replay may take, the program included, in bytes.
const maxRSS = 50e6

// logKinds are logs of a certain size, by what is in them.
var logKinds = []struct {
	name string
	// line is the host and the message of a line.
	line func(i int) (host, text string)
	// gap is what lies between two lines.
	gap func(i int) time.Duration
}{
	{"ordinary", func(i int) (string, string) {
		if i%1000 == 0 {
			return "hv042", message
		}
		return "hv042", "br-int: port 7(tap42) entered forwarding state, topology change detected, propagating"
	}, steadily},
	{"all-matches", func(int) (string, string) { return "hv042", message }, steadily},
	{"all-suppressed", func(i int) (string, string) {
		return "hv042", fmt.Sprintf("net_ratelimit: %d callbacks suppressed", i%1000+1)
	}, steadily},
	{"near-misses", func(int) (string, string) { return "hv042", message + "s" }, steadily},
	{"other-host", func(int) (string, string) { return "hv043", message }, steadily},
	{"many-incidents", func(int) (string, string) { return "hv042", message }, func(i int) time.Duration {
		if i%1000 == 0 {
			return 5 * time.Minute
		}
		return 500 * time.Millisecond
	}},
}

func steadily(int) time.Duration { return 100 * time.Millisecond }

// BenchmarkReplay runs the program on files of 100 MiB in the traditional format, the shortest lines that there are.
// rss-MB is the largest resident set of any run, in millions of bytes.
func BenchmarkReplay(b *testing.B) {
	program := build(b)
	for _, kind := range logKinds {
		b.Run(kind.name, func(b *testing.B) {
			const size = 100 << 20
			path := filepath.Join(b.TempDir(), "kern.log")
			writeLog(b, path, size, kind.line, kind.gap)
			b.SetBytes(size)
			var rss, slowest float64
			b.ResetTimer()
			for b.Loop() {
				start := time.Now()
				rss = max(rss, replayProcess(b, program, path))
				slowest = max(slowest, time.Since(start).Seconds())
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/run")
			b.ReportMetric(slowest, "slowest-s")
			b.ReportMetric(rss/1e6, "rss-MB")
		})
	}
}

// TestReplayMemory holds the program to its bound on smaller files of every kind: what it keeps does not depend on how
// much it reads.
func TestReplayMemory(t *testing.T) {
	program := build(t)
	for _, kind := range logKinds {
		t.Run(kind.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "kern.log")
			writeLog(t, path, 20<<20, kind.line, kind.gap)
			if rss := replayProcess(t, program, path); rss > maxRSS {
				t.Errorf("the replay took %.1f MB, allowed are %.0f", rss/1e6, maxRSS/1e6)
			}
		})
	}
}

// build makes the program, as a user has it: under the race detector it would be another.
func build(t testing.TB) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "ctwarden")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/ctwarden")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// replayProcess replays a file in a process of its own and returns its largest resident set in bytes. The kernel counts
// what the test itself had when it started the process, so that must stay small.
func replayProcess(t testing.TB, program, path string) float64 {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, "replay", "--host", "hv042", "-o", "json", path)
	cmd.Env = append(os.Environ(), "TZ=UTC")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The file itself is told of at the beginning, the incidents may be many.
	head, err := io.ReadAll(io.LimitReader(out, 1<<10))
	if err == nil {
		_, err = io.Copy(io.Discard, out)
	}
	if err = errors.Join(err, cmd.Wait()); err != nil || !bytes.Contains(head, []byte(`"path": "`+path+`"`)) {
		t.Fatalf("replay %s: %v, %s", path, err, head)
	}
	return float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) * 1024
}

// writeLog writes a log of one message a line.
func writeLog(t testing.TB, path string, size int, line func(int) (host, text string), gap func(int) time.Duration) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(file)
	at := time.Date(2025, time.March, 1, 0, 0, 0, 0, time.UTC)
	for i := 0; size > 0; i++ {
		host, text := line(i)
		at = at.Add(gap(i))
		n, err := fmt.Fprintf(w, "%s %s kernel: %s\n", at.Format(time.Stamp), host, text)
		if err != nil {
			t.Fatal(err)
		}
		size -= n
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}
