//go:build linux && cgo

package watcher

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// TestPromiseJournalReboot reads a journal over a reboot: what the earlier boot left is read to its end, as of that
// boot, and then what this one says.
func TestPromiseJournalReboot(t *testing.T) {
	earlier := testhost.Machine{BootID: strings.Repeat("5a", 16)}
	boot, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	d := testhost.StartJournaldOn(t, dir, earlier)
	cfg := JournalConfig{Directory: dir, Host: "*"}
	f := follow(t, cfg)
	f.wait(t, testhost.KernelRecords(t, 2))
	cfg.Position = f.stop(t).Position.Data
	left := testhost.KernelRecords(t, 3)
	d.Written(t, left[2])
	d.Stop(t)

	testhost.StartJournaldOn(t, dir, testhost.Machine{}) // reads the ring again, as this boot's
	now := testhost.KernelRecords(t, 3)
	f = follow(t, cfg)
	f.wait(t, append(left, now...))
	f.stop(t)
	if len(f.losses()) > 0 {
		t.Errorf("lost: %q", f.losses())
	}
	wrong := 0
	for _, word := range now {
		if f.seen[word] != 1 || f.boot[word] != boot {
			wrong++
		}
	}
	for _, word := range left { // once as of each boot, the earlier one first
		if f.seen[word] != 2 || f.boot[word] != boot || f.first[word] != earlier.BootID {
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("%d records wrong: %v, %v", wrong, f.seen, f.first)
	}
	testhost.Held(t, "1.9 journal over a reboot", "%d of %d records lost, repeated or of the wrong boot", wrong, len(left)+len(now))
}

// TestPromiseJournaldOverrun keeps journald from reading until the kernel's ring was overrun. What journald itself
// missed is told of by the journal source too.
func TestPromiseJournaldOverrun(t *testing.T) {
	d := testhost.StartJournald(t)
	r := openRing(t)
	f := follow(t, JournalConfig{Directory: d.Dir, Host: "*"})
	f.wait(t, testhost.KernelRecords(t, 1))
	d.Signal(t, syscall.SIGSTOP)
	r.catchUp(t)
	r.overrun(t, r.last)
	d.Signal(t, syscall.SIGCONT)
	f.wait(t, testhost.KernelRecords(t, 1))
	testhost.Eventually(t, "the loss is told of", func() bool { return f.total().Stats.Lost > 0 })
	total := f.stop(t)
	said := d.Control(t, "-q", "-o", "cat", "-n", "1", "MESSAGE_ID="+missedID)
	n, ok := missedRecords([]byte(strings.TrimSpace(said)))
	if !ok || total.Stats.Lost != n || total.Stats.LostText != missedText {
		t.Errorf("journald says %q; %+v", said, total.Stats)
	}
	testhost.Held(t, "1.10 records that journald missed", "%d reported lost, as many as journald says", total.Stats.Lost)
}

// TestPromiseJournalForged is node-problem-detector's failure: it goes by SYSLOG_IDENTIFIER=kernel, which any user can
// set, and counted 1000 of 1000. Here an ordinary user does what can be done by way of each of journald's sockets.
func TestPromiseJournalForged(t *testing.T) {
	d := testhost.StartJournald(t)
	f := follow(t, JournalConfig{Directory: d.Dir, Host: "*"})
	rounds := testhost.Amount(1, 50)
	for range rounds {
		forge(t, d)
	}
	written := 1000 * rounds
	lines := strings.Repeat("<4>kernel: "+forgedFull+"\n", 200)
	d.Run(t, lines, "logger", "--socket", "/run/systemd/journal/dev-log", "--prio-prefix", "-t", "kernel", "-p", "kern.warning")
	written += 200
	send(t, d, "MESSAGE=Missed 4000000077 kernel messages\nMESSAGE_ID="+missedID+"\n_TRANSPORT=driver\n")
	f.wait(t, testhost.KernelRecords(t, 1))
	testhost.Eventually(t, "the forged records", func() bool { return forged(t, d) == 1000*rounds })
	f.wait(t, testhost.KernelRecords(t, 1))
	total, counted := f.stop(t), 0
	for _, m := range total.Matches {
		if m.NetNS == forgedNetNS || m.NetNS == 0 && m.Mono == 0 {
			counted += m.Count
		}
	}
	if counted > 0 || total.Stats.Lost >= 4000000077 {
		t.Errorf("%d of %d counted; %+v", counted, written, total.Stats)
	}
	testhost.Held(t, "6.9 forged records in the journal", "%d of %d counted as the kernel's", counted, written)
}

// send writes one record to journald's own socket.
func send(t *testing.T, d *testhost.Journald, record string) {
	t.Helper()
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: d.Path("/run/systemd/journal/socket"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(record)); err != nil {
		t.Fatal(err)
	}
}

const noLibraryEnv = "CTWARDEN_TEST_NO_LIBRARY"

// TestJournalNoLibraryChild is not a test: it is what TestJournalNoLibrary runs where libsystemd is not.
func TestJournalNoLibraryChild(t *testing.T) {
	dir := os.Getenv(noLibraryEnv)
	if dir == "" {
		return
	}
	b := runJournal(t, JournalConfig{Directory: dir}).next(t, caughtUp)
	if b.State == nil || b.State.Up || !b.State.Absent || !strings.Contains(b.State.Remedy, "libsystemd0") {
		t.Errorf("state %+v", b.State)
	}
}

// TestJournalNoLibrary sees that the program runs where libsystemd is not installed, and says so.
func TestJournalNoLibrary(t *testing.T) {
	testhost.NeedRoot(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "system.journal"), nil, 0o640); err != nil {
		t.Fatal(err)
	}
	script := `mount --make-rprivate / && for f in $(ldconfig -p | sed -n 's/.*libsystemd\.so\.0.* => //p'); do
		mount --bind /dev/null "$f" || exit 9; done; exec /proc/` + fmt.Sprint(os.Getpid()) + `/exe -test.run='^TestJournalNoLibraryChild$'`
	cmd := exec.Command("unshare", "-m", "sh", "-c", script)
	cmd.Env = append(os.Environ(), noLibraryEnv+"="+dir, "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("without libsystemd: %v: %s", err, out)
	}
}

// TestJournalClock gives times to records of this boot and of others while the wall clock is set to and fro.
func TestJournalClock(t *testing.T) {
	boot, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	year := func(y int) time.Time { return time.Date(y, 6, 1, 12, 0, 0, 0, time.UTC) }
	up, age := sinceBoot(), sinceBoot()/2
	tests := []struct {
		name       string
		now, stamp time.Time
		boot       string
		current    bool
		want       time.Time
	}{
		{"as it should be", year(2026), year(2026).Add(-age), boot, true, year(2026).Add(-age)},
		{"clock set back since", year(2026), year(2027), boot, true, year(2026).Add(-age)},
		{"clock set forward since", year(2026), year(1970), boot, true, year(2026).Add(-age)},
		{"backlog, clock set back since", year(2026), year(9999), boot, false, year(2026).Add(-age)},
		{"backlog, suspended since", year(2026), year(2026).Add(-age - time.Hour), boot, false, year(2026).Add(-age - time.Hour)},
		{"another boot", year(2026), year(2027), "another", true, year(2027)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j, err := NewJournal(JournalConfig{Now: func() time.Time { return tt.now }})
			if err != nil {
				t.Fatal(err)
			}
			j.current = tt.current
			got := j.wall(cursor{boot: tt.boot, mono: up - age}, tt.stamp)
			if d := tt.want.Sub(got); d < 0 || d > time.Minute {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}
