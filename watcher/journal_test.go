//go:build linux && cgo

package watcher

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

const (
	forgeSocket = 4 // the first file after those of testhost.AsNobody
	forgeEnv    = "CTWARDEN_TEST_FORGE"
)

// TestForgeChild is not a test: it is the ordinary user that forge runs.
func TestForgeChild(t *testing.T) {
	if os.Getenv(forgeEnv) == "" {
		return // forge runs it
	}
	conn, err := net.FileConn(os.NewFile(forgeSocket, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	record := "MESSAGE=" + tableFull + "\nSYSLOG_IDENTIFIER=kernel\nSYSLOG_FACILITY=0\n_TRANSPORT=kernel\nPRIORITY=4\n"
	for range 500 {
		if _, err := conn.Write([]byte(record)); err != nil {
			t.Fatal(err)
		}
	}
}

// forge writes 1000 records as an ordinary user that look like the kernel's as far as that user can make them so: half
// of them straight to journald's socket with all the fields, half through systemd-cat.
func forge(t *testing.T, j *testhost.Journald) {
	t.Helper()
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: j.Path("/run/systemd/journal/socket"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sock, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	child := testhost.AsNobody(t, "TestForgeChild", forgeEnv+"=1")
	child.ExtraFiles = append(child.ExtraFiles, sock)
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("forge: %v: %s", err, out)
	}
	j.Run(t, strings.Repeat(tableFull+"\n", 500), "systemd-cat", "-t", "kernel", "-p", "warning")
}

// forged counts the forged records that have arrived, with nothing but journalctl.
func forged(t *testing.T, j *testhost.Journald) int {
	t.Helper()
	out, err := exec.Command("journalctl", "-D", j.Dir, "-q", "-o", "cat", "SYSLOG_IDENTIFIER=kernel", "_UID=65534").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(out), tableFull)
}

func runJournal(t *testing.T, cfg JournalConfig) *running {
	t.Helper()
	j, err := NewJournal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, j)
}

// records waits for n records of the kernel.
func records(n uint64) func(Batch) bool { return func(b Batch) bool { return b.Stats.Records >= n } }

// TestJournal follows a real journal from the first start on: kernel records arrive, forged ones do not count, a
// rotation and a restart lose and repeat nothing, and a vacuumed position is told of.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	d := testhost.StartJournaldIn(t, dir)
	cfg := JournalConfig{Directory: dir, Host: "*"}
	r := runJournal(t, cfg)
	b := r.next(t, func(b Batch) bool { return b.CaughtUp && b.Position.Data != nil })
	if b.State == nil || !b.State.Up || b.Stats.Records != 0 {
		t.Fatalf("at first: state %+v, %d records; want none, with no lookback", b.State, b.Stats.Records)
	}

	start := time.Now()
	testhost.KernelRecord(t)
	b = r.next(t, records(1))
	t.Logf("a record of the kernel took %v", time.Since(start))
	if age := time.Since(b.Last); age < 0 || age > patience {
		t.Errorf("it is of %v", b.Last)
	}

	forge(t, d)
	testhost.Eventually(t, "1000 forged records", func() bool { return forged(t, d) == 1000 })
	writeKmsg(t, tableFull)      // root's, with the kernel's transport and another facility
	d.Signal(t, syscall.SIGUSR2) // rotate
	testhost.Eventually(t, "a rotation", func() bool {
		old, err := filepath.Glob(filepath.Join(dir, "*", "system@*.journal"))
		return err == nil && len(old) == 1
	})
	testhost.KernelRecord(t)
	b = r.next(t, records(1))
	if b.Stats.Records > 100 || len(b.Matches) != 0 || b.Stats.Matches != 0 { // the kernel may have said something besides
		t.Errorf("behind 1001 forged records and a rotation: %+v", b.Stats)
	}

	r.stop(t)
	testhost.KernelRecord(t)
	cfg.Position = b.Position.Data
	r = runJournal(t, cfg)
	if b = r.next(t, records(1)); b.Stats.Records > 100 || b.Stats.LostText != "" {
		t.Errorf("after a restart: %+v", b.Stats)
	}
	r.stop(t)

	d.Signal(t, syscall.SIGUSR2) // rotate
	testhost.Eventually(t, "a vacuum", func() bool { return vacuum(t, dir) == 0 })
	testhost.KernelRecord(t)
	r = runJournal(t, cfg)
	if b = r.next(t, records(1)); b.Stats.LostText == "" {
		t.Error("a vacuumed position is not told of")
	}
}

// vacuum removes the archived files and tells how many are left.
func vacuum(t *testing.T, dir string) int {
	t.Helper()
	old, err := filepath.Glob(filepath.Join(dir, "*", "system@*.journal"))
	if err != nil {
		t.Fatal(err)
	}
	if len(old) < 2 {
		return len(old) + 1 // the second rotation is under way
	}
	for _, file := range old {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	return 0
}

// TestJournalLookback reads what the kernel said before the first start.
func TestJournalLookback(t *testing.T) {
	dir := t.TempDir()
	testhost.StartJournaldIn(t, dir)
	r := runJournal(t, JournalConfig{Directory: dir, Lookback: time.Minute})
	b := r.next(t, records(1))
	if text := b.Stats.LostText; text != "" && text != missedText { // the ring may have been overrun long ago
		t.Errorf("stats %+v", b.Stats)
	}
	stats, err := ScanJournal(t.Context(), dir, "*", func(remediate.Match) error { return nil })
	if err != nil || stats.Records == 0 || stats.Bytes == 0 {
		t.Errorf("ScanJournal = %+v, %v", stats, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ScanJournal(ctx, dir, "*", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("ScanJournal when told to stop = %v", err)
	}
}

// TestJournalAppears starts before the journal does.
func TestJournalAppears(t *testing.T) {
	dir := t.TempDir()
	r := runJournal(t, JournalConfig{Directory: dir, Lookback: time.Hour})
	b := r.next(t, caughtUp)
	if b.State == nil || b.State.Up || b.State.Remedy == "" {
		t.Fatalf("state %+v", b.State)
	}
	testhost.StartJournaldIn(t, dir)
	if b = r.next(t, records(1)); b.State == nil || !b.State.Up {
		t.Errorf("state %+v", b.State)
	}
	r.stop(t)
	if j, err := NewJournal(JournalConfig{Directory: t.TempDir(), Required: true}); err != nil {
		t.Fatal(err)
	} else if err := j.Run(t.Context(), make(chan Batch)); !errors.Is(err, errNoJournal) {
		t.Errorf("a required journal that is not there: %v", err)
	}
}

func TestJournalBadPosition(t *testing.T) {
	if _, err := NewJournal(JournalConfig{Position: []byte("{")}); err == nil {
		t.Error("a damaged position was taken")
	}
}
