package notify

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

// apartEnv marks the copy of this test binary that runs in a mount namespace of its own, with a /run of its own.
const apartEnv = "CTWARDEN_JOURNAL_APART"

// apart runs the calling test again in such a copy, and tells whether this is it.
func apart(t *testing.T) bool {
	t.Helper()
	if os.Getenv(apartEnv) == t.Name() {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	testhost.NeedRoot(t)
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), apartEnv+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		testhost.Skip(t, "no mount namespace: "+err.Error())
	}
	if err != nil || strings.Contains(string(out), "--- SKIP") {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

func encoded(t *testing.T, ev remediate.Event) Outgoing {
	t.Helper()
	out, err := Encode(golden, ev)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func runSink(t *testing.T, log *zap.Logger) (j *JournalSink, stop func()) {
	t.Helper()
	j = NewJournalSink(log)
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error { return j.Run(ctx) })
	return j, func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func TestRecordsInARealJournal(t *testing.T) {
	if !apart(t) {
		return
	}
	journald := testhost.StartJournald(t)
	if err := os.Mkdir("/run/systemd", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(journald.Path("/run/systemd/journal"), "/run/systemd/journal"); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	j, stop := runSink(t, zap.New(core))
	for _, ev := range samples() {
		j.Record(encoded(t, ev))
	}
	stop()
	if logs.Len() != 0 || j.Dropped() != 0 {
		t.Errorf("%v fell back, %d dropped", logs.All(), j.Dropped())
	}
	read := func(args ...string) string {
		args = append([]string{"--directory=" + journald.Dir, "--no-pager", "SYSLOG_IDENTIFIER=ctwarden"}, args...)
		out, err := exec.Command("journalctl", args...).Output()
		if err != nil {
			return ""
		}
		return string(out)
	}
	testhost.Eventually(t, "the records are in the journal", func() bool {
		return strings.Count(read("-o", "cat"), "\n") == len(samples())
	})
	for _, c := range []struct{ match, field, want string }{
		{"CTWARDEN_EVENT=step.applied", "MESSAGE", "step.applied: 262144 → 524288 (full) in 38 µs, both keys read back"},
		{"CTWARDEN_EVENT=step.applied", "PRIORITY", "5"},
		{"CTWARDEN_EVENT=step.failed", "PRIORITY", "3"},
		{"CTWARDEN_EVENT=incident.opened", "PRIORITY", "3"},
		{"CTWARDEN_EVENT=incident.opened", "CTWARDEN_INCIDENT", "inc-1"},
		{"CTWARDEN_EVENT=step.refused", "CTWARDEN_REASON", "observe_mode"},
		{"CTWARDEN_ID=ev-limit.changed", "CTWARDEN_EVENT", "limit.changed"},
		{"CTWARDEN_ID=ev-match.unverified", "CTWARDEN_JSON", string(encoded(t, samples()[8]).Body)},
	} {
		got := read("-o", "cat", "--output-fields="+c.field, c.match)
		if strings.TrimSuffix(got, "\n") != c.want {
			t.Errorf("%s of %s: got %q, want %q", c.field, c.match, got, c.want)
		}
	}
}

func TestNoJournalFallsBackToTheLog(t *testing.T) {
	if !apart(t) {
		return
	}
	core, logs := observer.New(zapcore.DebugLevel)
	j, stop := runSink(t, zap.New(core))
	j.Record(encoded(t, samples()[3]))
	stop()
	if logs.Len() != 1 {
		t.Fatalf("got %v", logs.All())
	}
	m := logs.All()[0].ContextMap()
	if m["CTWARDEN_EVENT"] != "step.applied" || m["CTWARDEN_INCIDENT"] != "inc-1" || m["priority"] != int64(journal.PriNotice) ||
		!strings.Contains(m["line"].(string), "262144 → 524288") {
		t.Errorf("got %v", m)
	}
}

func TestStuckJournalBlocksNobody(t *testing.T) {
	if !apart(t) {
		return
	}
	if err := os.MkdirAll("/run/systemd/journal", 0o755); err != nil {
		t.Fatal(err)
	}
	// A socket that nobody reads from, as of a stopped journald.
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/run/systemd/journal/socket", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	j, stop := runSink(t, zap.NewNop())
	start := time.Now()
	out := encoded(t, samples()[3])
	testhost.Eventually(t, "something is dropped", func() bool {
		for i := range 5000 {
			out.ID = strconv.Itoa(i)
			j.Record(out)
		}
		return j.Dropped() > 0
	})
	stop()
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestJournalSinkTakesABurst(t *testing.T) {
	const burst = 4000 // what a first look at 2,000 old incidents brings
	j := NewJournalSink(zap.NewNop())
	for range burst {
		j.Record(encoded(t, samples()[3]))
	}
	if n := j.Dropped(); n != 0 {
		t.Errorf("%d dropped", n)
	}
	out := Outgoing{Body: make([]byte, 5<<20)}
	for range 4 {
		j.Record(out)
	}
	if n := j.Dropped(); n != 2 && n != 3 {
		t.Errorf("%d of 4 records of 5 MiB dropped, want those beyond 16 MiB", n)
	}
}

func TestPriority(t *testing.T) {
	opened := func(d remediate.Incident) remediate.Event {
		return remediate.Event{Type: remediate.EventIncidentOpened, Data: d}
	}
	for _, c := range []struct {
		name string
		ev   remediate.Event
		want journal.Priority
	}{
		{"filling", opened(remediate.Incident{Severity: remediate.SeverityWarning}), journal.PriWarning},
		{"refusing", opened(remediate.Incident{Severity: remediate.SeverityCritical}), journal.PriErr},
		{"long ago", opened(remediate.Incident{Severity: remediate.SeverityCritical, Historical: true}), journal.PriNotice},
		{"over", remediate.Event{Type: remediate.EventIncidentClosed}, journal.PriNotice},
		{"refused", remediate.Event{Type: remediate.EventStepRefused}, journal.PriWarning},
		{"started", remediate.Event{Type: remediate.EventAgentStarted}, journal.PriInfo},
	} {
		if got := priority(c.ev); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}
