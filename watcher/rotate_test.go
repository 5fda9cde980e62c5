package watcher

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

const linesASec = 20000

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

// logrotateModes are the ways that the real logrotate is told to rotate.
var logrotateModes = map[string]string{
	"create":                 "nocopytruncate",
	"copytruncate":           "copytruncate",
	"create and compress":    "compress\n\tdelaycompress",
	"copytruncate, compress": "copytruncate\n\tcompress",
}

// TestPromiseLogrotate has the real rsyslogd write a file at speed while the real logrotate rotates it. Every line that
// is in some file at the end must have been delivered exactly once: what copytruncate itself destroys nobody can read.
func TestPromiseLogrotate(t *testing.T) {
	for mode, how := range logrotateModes {
		t.Run(mode, func(t *testing.T) { testLogrotate(t, mode, how) })
	}
}

func testLogrotate(t *testing.T, mode, how string) {
	logrotate, err := exec.LookPath("logrotate")
	if err != nil {
		testhost.Skip(t, "needs logrotate: "+err.Error())
	}
	d := testhost.StartRelay(t)
	conf := filepath.Join(t.TempDir(), "logrotate.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, logrotateConf, d.File, how, d.PID()), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newNumbered(t)
	l.path, l.cfg.Path = d.File, d.File
	l.write("")
	l.start()
	l.until("the beginning", func() bool { return l.caughtUp })

	rotations := testhost.Amount(5, 20)
	w := relayWriter{socket: d.Socket}
	end := make(chan struct{})
	var work errgroup.Group
	work.Go(func() error { return w.write(end) })
	work.Go(func() error {
		defer close(end)
		for i := range rotations {
			err := testhost.Await("lines are sent", func() bool { return int(w.sent.Load()) >= (i+1)*linesASec/4 })
			if err != nil {
				return err
			}
			if out, err := exec.Command(logrotate, "-f", "-s", conf+".state", conf).CombinedOutput(); err != nil {
				return fmt.Errorf("logrotate: %w: %s", err, out)
			}
		}
		return nil
	})
	// No rotation destroys the very last line.
	l.until("the last line", func() bool { return len(l.got) > 0 && l.got[len(l.got)-1] == int(w.last.Load()) })
	if err := work.Wait(); err != nil {
		t.Fatal(err)
	}
	l.stop()
	l.n = int(w.last.Load())
	want := kept(t, d.File)
	destroyed := without(l.n, want)
	if strings.HasPrefix(how, "copytruncate") {
		l.wantCounted(rotations, linesASec)
	} else {
		l.wantNothingTold()
		if len(destroyed) > 0 {
			t.Errorf("%d lines were sent and %d are in the files", l.n, len(want))
		}
	}
	l.wantAll(destroyed...)
	if rate := float64(l.n) / w.took.Seconds(); testhost.Long() && rate < 0.9*linesASec {
		t.Errorf("%.0f lines/s were written, want %d: the machine is too busy to show it", rate, linesASec)
	}
	testhost.Held(t, "2.5 logrotate, "+mode, "lost %d (destroyed by logrotate: %d, told %d times, counted %d), twice %d of %d lines in %d rotations, %d lines/s",
		l.missing(), len(destroyed), l.told, l.lost, l.twice(), l.n, rotations, int(float64(l.n)/w.took.Seconds()))
}

// relayWriter sends numbered kernel lines to rsyslogd.
type relayWriter struct {
	socket string
	sent   atomic.Int64
	last   atomic.Int64 // the last of all, once it was sent
	took   time.Duration
}

// write sends until end is closed, and one more burst.
func (w *relayWriter) write(end <-chan struct{}) error {
	conn, err := net.Dial("unixgram", w.socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	start := time.Now()
	tick := time.NewTicker(burstEvery)
	defer tick.Stop()
	for over := false; !over; {
		select {
		case <-end:
			over = true
		case <-tick.C:
		}
		for range linesASec * int(burstEvery/time.Millisecond) / 1000 {
			n := w.sent.Add(1)
			_, err := fmt.Fprintf(conn, "<4>%s %s kernel: [%d.%06d] %s", time.Now().Format(time.Stamp), testHost, n/1e6, n%1e6, tableFull)
			if err != nil {
				return err
			}
		}
	}
	w.took = time.Since(start)
	w.last.Store(w.sent.Load())
	return nil
}

// kept reads the numbers of the lines that are whole in the file and all that it was rotated to, sorted. Copytruncate may
// cut a line in two.
func kept(t *testing.T, path string) []int {
	t.Helper()
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	var lines []int
	for _, name := range files {
		in, err := OpenLog(name)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err := errors.Join(err, in.Close()); err != nil {
			t.Fatal(err)
		}
		p := NewLineParser(LineConfig{Host: testHost})
		for line := range bytes.Lines(text) {
			if m, verdict := p.Parse(line); verdict == VerdictMatch {
				lines = append(lines, int(m.Mono/time.Microsecond))
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// without are the numbers from 1 to n that are not in have, which is sorted.
func without(n int, have []int) []int {
	var list []int
	for i := 1; i <= n; i++ {
		if _, ok := slices.BinarySearch(have, i); !ok {
			list = append(list, i)
		}
	}
	return list
}
