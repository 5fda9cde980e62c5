package watcher

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

const (
	rotations = 20
	linesASec = 20000
)

const logrotateConf = `%[1]s {
	rotate 50
	missingok
	%[2]s
	create 0600
	postrotate
		kill -HUP %[3]d
	endscript
}
`

// TestRotation has the real rsyslogd write a file at speed while the real logrotate rotates it. Every line that is still
// in some file at the end must have been delivered exactly once: what copytruncate itself destroys nobody can read.
func TestRotation(t *testing.T) {
	// A copy is found by what was read before it was made, so there must have been time to read something.
	for how, each := range map[string]time.Duration{"nocopytruncate": pollEvery / 2, "copytruncate": 2 * pollEvery} {
		t.Run(how, func(t *testing.T) { testRotation(t, how, each) })
	}
}

func testRotation(t *testing.T, how string, each time.Duration) {
	logrotate, err := exec.LookPath("logrotate")
	if err != nil {
		testhost.Skip(t, "needs logrotate: "+err.Error())
	}
	d := testhost.StartRelay(t)
	conf := filepath.Join(t.TempDir(), "logrotate.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, logrotateConf, d.File, how, d.PID()), 0o600); err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(d.File, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := NewSyslog(SyslogConfig{Path: d.File, Host: testHost})
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, s)
	r.next(t, caughtUp)
	end, done := make(chan struct{}), make(chan int, 1)
	go func() { done <- sendLines(t, d.Socket, end) }()
	go func() {
		defer close(end)
		tick := time.NewTicker(each)
		defer tick.Stop()
		for range rotations {
			<-tick.C
			out, err := exec.Command(logrotate, "-f", "-s", conf+".state", conf).CombinedOutput()
			if err != nil {
				t.Errorf("logrotate: %v: %s", err, out)
			}
		}
	}()
	var got []int
	var stats Stats
	gather := func(d time.Duration) (more bool) {
		b, _ := drainFor(r.out, d, func(Batch) bool { return false })
		for _, m := range b.Matches {
			got = append(got, int(m.Mono/time.Microsecond))
		}
		stats.Lost += b.Stats.Lost
		return len(b.Matches) > 0
	}
	for writing := true; writing; {
		gather(sendEvery / 2)
		select {
		case <-end:
			writing = false
		default:
		}
	}
	for gather(3 * sendEvery / 2) {
	}
	sent := <-done
	want := kept(t, d.File)
	t.Logf("%d lines sent, %d kept in files, %d delivered, lost %d", sent, len(want), len(got), stats.Lost)
	if how != "copytruncate" && len(want) != sent {
		t.Errorf("%d lines were sent and %d are in the files", sent, len(want))
	}
	compareLines(t, want, got)
}

// sendLines sends numbered kernel lines to rsyslogd until end is closed, and returns how many.
func sendLines(t *testing.T, socket string, end <-chan struct{}) int {
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer conn.Close()
	const burst = 10 * time.Millisecond
	tick := time.NewTicker(burst)
	defer tick.Stop()
	n := 0
	for {
		select {
		case <-end:
			return n
		case <-tick.C:
		}
		for range linesASec * int(burst/time.Millisecond) / 1000 {
			n++
			_, err := fmt.Fprintf(conn, "<4>%s %s kernel: [%d.%06d] %s", time.Now().Format(time.Stamp), testHost, n/1e6, n%1e6, tableFull)
			if err != nil {
				t.Error(err)
				return n
			}
		}
	}
}

// kept reads the numbers of the lines in the file and all that it was rotated to, sorted.
func kept(t *testing.T, path string) []int {
	t.Helper()
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	var lines []int
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for sc := bufio.NewScanner(bytes.NewReader(text)); sc.Scan(); {
			_, rest, _ := bytes.Cut(sc.Bytes(), []byte("kernel: ["))
			var sec, usec int
			if _, err := fmt.Sscanf(string(rest), "%d.%d]", &sec, &usec); err != nil {
				t.Errorf("%s: %q: %v", name, sc.Text(), err)
			}
			lines = append(lines, sec*1e6+usec)
		}
	}
	slices.Sort(lines)
	return lines
}

// compareLines fails for lines that were not delivered or delivered twice, and for any that never were in a file.
func compareLines(t *testing.T, want, got []int) {
	t.Helper()
	if !slices.IsSorted(got) {
		t.Error("delivered out of order")
	}
	slices.Sort(got)
	unique := slices.Compact(slices.Clone(got))
	missing := 0
	for _, n := range want {
		if _, ok := slices.BinarySearch(unique, n); !ok {
			missing++
		}
	}
	if missing > 0 || len(unique) != len(got) {
		t.Errorf("%d lines missing, %d delivered twice", missing, len(got)-len(unique))
	}
}
