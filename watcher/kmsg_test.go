package watcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

const tableFull = "nf_conntrack: nf_conntrack: table full, dropping packet"

func TestParseKmsg(t *testing.T) {
	tests := []struct {
		name, rec string
		want      kmsgRecord
		ok        bool
	}{
		{"kernel", "4,364,477193481,-;" + tableFull + "\n",
			kmsgRecord{facility: 0, seq: 364, mono: 477193481 * time.Microsecond, text: []byte(tableFull), mayMatch: true}, true},
		{"caller and dictionary", "4,9,1000000,-,caller=T92772;" + tableFull + "\n SUBSYSTEM=net\n DEVICE=n1\n",
			kmsgRecord{seq: 9, mono: time.Second, text: []byte(tableFull), mayMatch: true}, true},
		{"user facility", "12,365,7,-;" + tableFull + "\n",
			kmsgRecord{facility: 1, seq: 365, mono: 7 * time.Microsecond, text: []byte(tableFull), mayMatch: true}, true},
		{"escaped", `4,1,2,-;` + tableFull + `\x0anext \x5cx41` + "\n",
			kmsgRecord{seq: 1, mono: 2 * time.Microsecond, text: []byte(tableFull + "\n" + `next \x41`), mayMatch: true}, true},
		{"something else", "6,10,11,-;eth0: link up\n", kmsgRecord{seq: 10, mono: 11 * time.Microsecond}, true},
		{"no text", "6,10,11,-", kmsgRecord{}, false},
		{"not a number", "6,x,11,-;text", kmsgRecord{facility: 0}, false},
		{"empty", "", kmsgRecord{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := parseKmsg([]byte(tt.rec))
			if ok != tt.ok || ok && fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", tt.want) {
				t.Errorf("parseKmsg = %+v, %v; want %+v, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

// scriptedKmsg plays records and errors, then waits for ctx.
type scriptedKmsg struct{ steps []any }

func (d *scriptedKmsg) read(ctx context.Context, buf []byte, wait time.Duration) (int, error) {
	if len(d.steps) == 0 {
		if wait == 0 {
			return 0, unix.EAGAIN
		}
		<-ctx.Done()
		return 0, ctx.Err()
	}
	step := d.steps[0]
	d.steps = d.steps[1:]
	if err, ok := step.(error); ok {
		return 0, err
	}
	return copy(buf, step.(string)), nil
}

func kmsgLine(prio, seq int, usec int64) string {
	return fmt.Sprintf("%d,%d,%d,-;%s\n", prio, seq, usec, tableFull)
}

func TestKmsgResume(t *testing.T) {
	now := sinceBoot().Microseconds()
	lookback := now / 4 // however short the machine has been up
	epipe := &os.PathError{Op: "read", Path: "/dev/kmsg", Err: syscall.EPIPE}
	tests := []struct {
		name     string
		position string
		steps    []any
		matches  int
		lost     uint64
		seq      string
	}{
		{"first start drops what is older than lookback", "",
			[]any{kmsgLine(4, 5, now-2*lookback), kmsgLine(4, 6, now-lookback/2), kmsgLine(4, 7, now-lookback/4)}, 2, 0, `"seq":7`},
		{"first start, overrun among what it drops", "",
			[]any{kmsgLine(4, 5, now-2*lookback), epipe, kmsgLine(4, 9, now-lookback*3/2), kmsgLine(4, 10, now-lookback/4)}, 1, 0, `"seq":10`},
		{"first start, overrun up to within lookback", "",
			[]any{kmsgLine(4, 5, now-2*lookback), epipe, kmsgLine(4, 9, now-lookback/2)}, 1, 3, `"seq":9`},
		{"same boot goes on behind the last record", `{"boot_id":"aa","seq":6}`,
			[]any{kmsgLine(4, 5, 1), kmsgLine(4, 6, 2), kmsgLine(4, 7, 3)}, 1, 0, `"seq":7`},
		{"same boot, overrun meanwhile", `{"boot_id":"aa","seq":6}`,
			[]any{kmsgLine(4, 10, 1), kmsgLine(4, 11, 2)}, 2, 3, `"seq":11`},
		{"another boot begins with record 0", `{"boot_id":"bb","seq":600}`,
			[]any{kmsgLine(4, 0, 1), kmsgLine(4, 1, 2)}, 2, 0, `"seq":1`},
		{"another boot, ring overrun before", `{"boot_id":"bb","seq":600}`,
			[]any{kmsgLine(4, 4, 1), kmsgLine(4, 5, 2)}, 2, 4, `"seq":5`},
		{"overrun while running", `{"boot_id":"aa","seq":6}`,
			[]any{kmsgLine(4, 7, 1), epipe, kmsgLine(4, 57, 2), unix.EINTR, kmsgLine(4, 58, 2)}, 3, 49, `"seq":58`},
		{"forged", `{"boot_id":"aa","seq":6}`, []any{kmsgLine(12, 7, 1)}, 0, 0, `"seq":7`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := KmsgConfig{BootID: "aa", Lookback: time.Duration(lookback) * time.Microsecond}
			if tt.position != "" {
				cfg.Position = []byte(tt.position)
			}
			k, err := NewKmsg(cfg)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			out := make(chan Batch, 100)
			k.send = newSender(out, time.Now, remediate.SourceKmsg, "")
			done := make(chan error)
			go func() { done <- k.follow(ctx, &scriptedKmsg{tt.steps}) }()
			got := drain(t, out, caughtUp)
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("follow = %v", err)
			}
			if len(got.Matches) != tt.matches || got.Stats.Lost != tt.lost || (tt.lost > 0) != (got.Stats.LostText != "") {
				t.Errorf("%d matches, lost %d %q; want %d, %d", len(got.Matches), got.Stats.Lost, got.Stats.LostText, tt.matches, tt.lost)
			}
			if !strings.Contains(string(got.Position.Data), tt.seq) {
				t.Errorf("position %s, want %s", got.Position.Data, tt.seq)
			}
		})
	}
}

func TestKmsgBadPosition(t *testing.T) {
	if _, err := NewKmsg(KmsgConfig{Position: []byte("{")}); err == nil {
		t.Error("a damaged position was taken")
	}
}

func TestKmsgNotThere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(kmsgLine(4, 1, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(t.TempDir(), "none"), "/dev/null"} {
		t.Run(path, func(t *testing.T) {
			got := runKmsg(t, KmsgConfig{Path: path}).next(t, func(b Batch) bool { return b.State != nil })
			if got.State.Up || got.State.Problem == "" || got.State.Remedy == "" || !got.CaughtUp {
				t.Errorf("state %+v, caught up %v", got.State, got.CaughtUp)
			}
			k, err := NewKmsg(KmsgConfig{Path: path, Required: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Run(t.Context(), make(chan Batch)); err == nil {
				t.Error("a required device that is not there is no error")
			}
		})
	}
}

const kmsgEnv = "CTWARDEN_TEST_KMSG"

// TestKmsgDeniedChild is not a test: it is what TestKmsgDenied runs as an ordinary user.
func TestKmsgDeniedChild(t *testing.T) {
	if os.Getenv(kmsgEnv) == "" {
		return
	}
	b := runKmsg(t, KmsgConfig{}).next(t, caughtUp)
	if b.State == nil || b.State.Up || !strings.Contains(b.State.Remedy, "CAP_SYSLOG") {
		t.Errorf("state %+v", b.State)
	}
}

// TestKmsgDenied needs a kernel that keeps its log from ordinary users, as distributions set it.
func TestKmsgDenied(t *testing.T) {
	testhost.NeedRoot(t)
	testhost.NeedRestrictedLog(t)
	asNobody(t, "TestKmsgDeniedChild", kmsgEnv+"=1")
}

// TestKmsgDevice reads the real device: what a process writes is counted and not believed, a record is seen within
// milliseconds, and a restart goes on where the first run stopped.
func TestKmsgDevice(t *testing.T) {
	testhost.NeedRoot(t)
	r := runKmsg(t, KmsgConfig{Required: true})
	if b := r.next(t, caughtUp); b.State == nil || !b.State.Up {
		t.Fatalf("state %+v", b.State)
	}
	mark := fmt.Sprintf("%s ctwarden-test-%d", tableFull, os.Getpid())
	writeKmsg(t, tableFull)
	b := r.next(t, func(b Batch) bool { return b.Stats.NotKernel > 0 })
	if len(b.Matches) != 0 {
		t.Fatalf("believed a process: %+v", b.Matches)
	}
	r.stop(t)

	writeKmsg(t, mark)
	testhost.KernelRecord(t)
	r = runKmsg(t, KmsgConfig{Required: true, Position: b.Position.Data, Now: time.Now})
	b = r.next(t, caughtUp)
	if b.Stats.Records < 2 || b.Stats.Lost != 0 {
		t.Errorf("after the restart: %d records, lost %d; want the two written meanwhile", b.Stats.Records, b.Stats.Lost)
	}
	if age := time.Since(b.Last); age < 0 || age > 10*time.Second {
		t.Errorf("the newest record is of %v, %v ago", b.Last, age)
	}
	r.stop(t)
}

// TestKmsgStops sees that a source that waits for the kernel can be stopped.
func TestKmsgStops(t *testing.T) {
	testhost.NeedRoot(t)
	r := runKmsg(t, KmsgConfig{Required: true})
	r.next(t, caughtUp)
	r.stop(t)
}

func runKmsg(t *testing.T, cfg KmsgConfig) *running {
	t.Helper()
	k, err := NewKmsg(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, k)
}

func writeKmsg(t *testing.T, text string) {
	t.Helper()
	// Not os.WriteFile: a node that is not there must not be made.
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("<4>" + text + "\n"); err != nil {
		t.Fatal(err)
	}
}
