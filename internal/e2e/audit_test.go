package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

const auditConfig = `
site: e2e
nats: {servers: ["%s"]}
sources: {lookback: 0s, late_after: 5s, kmsg: {enabled: true}, journal: {enabled: true, directory: %s}, syslog: {enabled: true, files: [%s]}}
`

// withMetrics gives the agent an address to serve metrics on, before it is started.
func (a *agentProcess) withMetrics(t *testing.T) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(a.config)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, a.config, strings.Replace(string(text), `metrics: {listen: ""}`, fmt.Sprintf("metrics: {listen: %q}", address), 1), 0o644)
	return "http://" + address + "/metrics"
}

// scrape reads the metrics.
func scrape(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Timeout: 20 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %v: %s", url, resp.StatusCode, err, text)
	}
	return string(text)
}

// fed is a source with the daemon that feeds it.
type fed struct {
	source remediate.Source
	path   string
}

// faults counts what was said of a source, but for records that were lost: a ring buffer that is overrun loses some
// whoever reads it.
func (h *hub) faults(typ remediate.EventType, f fed) int {
	n := 0
	for _, r := range h.of(typ) {
		if s := r.Event.Data.(remediate.SourceState); s.Source == f.source && s.Path == f.path && s.Lost == 0 {
			n++
		}
	}
	return n
}

// printing waits while the kernel prints a record about once a second.
func printing(t *testing.T, what string, done func() bool) {
	t.Helper()
	polls := 0
	testhost.Eventually(t, what, func() bool {
		if polls%100 == 0 {
			testhost.KernelRecord(t)
		}
		polls++
		return done()
	})
}

// TestPromiseDeadSource stops and kills the daemons that feed the sources, while the kernel goes on printing.
func TestPromiseDeadSource(t *testing.T) {
	testkernel.Hold(t) // nobody else overruns the kernel's ring buffer meanwhile
	r := newRig(t)
	a := newAgent(t, t.TempDir(), r.config(auditConfig))
	metrics := a.withMetrics(t)
	a.start(t)
	both := []fed{{remediate.SourceJournal, r.journal.Dir}, {remediate.SourceSyslog, r.syslog.File}}
	printing(t, "every source delivers the kernel's records", func() bool {
		for _, f := range both {
			if a.source(t, f.source, f.path).Records < 2 {
				return false
			}
		}
		return a.source(t, remediate.SourceKmsg, "").Records >= 2
	})
	var noticed []time.Duration
	dead := func(round int, stop func()) {
		stop()
		since := time.Now()
		testhost.KernelRecord(t)
		for _, f := range both {
			testhost.Eventually(t, fmt.Sprintf("%s is degraded", f.source), func() bool {
				return a.source(t, f.source, f.path).Fault == "behind" && r.hub.faults(remediate.EventSourceDegraded, f) >= round
			})
			noticed = append(noticed, time.Since(since))
			if s := a.source(t, f.source, f.path); s.LagSeconds < 5 || s.Problem == "" || s.Remedy == "" {
				t.Errorf("status %+v", s)
			}
			wantWords(t, scrape(t, metrics), fmt.Sprintf("ctwarden_source_up{source=%q} 0", f.source), `ctwarden_source_up{source="kmsg"} 1`)
		}
		a.wantCommand(t, 0, []string{": BEHIND, ", "see whether systemd-journald runs", "see whether the syslog daemon runs"}, "status")
	}
	alive := func(round int) {
		for _, f := range both {
			printing(t, fmt.Sprintf("%s recovers", f.source), func() bool {
				return a.source(t, f.source, f.path).Fault == "" && r.hub.faults(remediate.EventSourceRecovered, f) >= round
			})
			wantWords(t, scrape(t, metrics), fmt.Sprintf("ctwarden_source_up{source=%q} 1", f.source))
		}
	}
	signal := func(sig syscall.Signal) { r.journal.Signal(t, sig); r.syslog.Signal(t, sig) }
	dead(1, func() { signal(syscall.SIGSTOP) })
	signal(syscall.SIGCONT)
	alive(1)
	dead(2, func() { signal(syscall.SIGKILL) })
	testhost.StartJournaldIn(t, r.journal.Dir)
	dir := filepath.Dir(r.syslog.File)
	if err := os.Remove(filepath.Join(dir, "pid")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	launch(t, nil, "rsyslogd", "-n", "-f", filepath.Join(dir, "rsyslog.conf"), "-i", filepath.Join(dir, "pid"))
	alive(2)
	for _, f := range append(both, fed{remediate.SourceKmsg, ""}) {
		want := 2
		if f.source == remediate.SourceKmsg {
			want = 0
		}
		if d, up := r.hub.faults(remediate.EventSourceDegraded, f), r.hub.faults(remediate.EventSourceRecovered, f); d != want || up != want {
			t.Errorf("%s was degraded %d times and recovered %d times, want %d", f.source, d, up, want)
		}
	}
	a.stop(t, syscall.SIGTERM)
	testhost.Held(t, "8.1 dead source", "systemd-journald and rsyslogd stopped, and killed: each noticed within %.1f s "+
		"at a patience of 5 s (30 s by default), said once, recovered by itself; false alarms 0",
		maxOf(noticed).Seconds())
}

func maxOf(list []time.Duration) (most time.Duration) {
	for _, d := range list {
		most = max(most, d)
	}
	return most
}

// TestPromiseUnreadableFile takes a file away in every manner, and gives it back.
func TestPromiseUnreadableFile(t *testing.T) {
	testhost.NeedRoot(t)
	h := startHub(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "kern.log")
	writeFile(t, file, "", 0o644)
	a := newAgent(t, dir, fmt.Sprintf(`
site: e2e
nats: {servers: [%s]}
sources: {kmsg: {enabled: false}, journal: {enabled: false}, syslog: {files: [%s]}}
`, h.url, file))
	a.start(t)
	f := fed{remediate.SourceSyslog, file}
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	ways := []struct {
		name    string
		take    func()
		problem string
	}{
		{"removed", func() { run("rm", file) }, "does not exist"},
		{"a directory", func() { run("rm", file); run("mkdir", file) }, "not a regular file"},
		{"a fifo", func() { run("rm", file); run("mkfifo", file) }, "not a regular file"},
		{"a device", func() { run("rm", file); run("mknod", file, "c", "1", "5") }, "not a regular file"},
		{"a link to itself", func() { run("rm", file); run("ln", "-s", file, file) }, "too many levels"},
	}
	for i, way := range ways {
		way.take()
		testhost.Eventually(t, way.name+": degraded", func() bool {
			return !a.source(t, f.source, f.path).Up && h.faults(remediate.EventSourceDegraded, f) == i+1
		})
		if s := a.source(t, f.source, f.path); !strings.Contains(s.Problem, way.problem) || s.Remedy == "" {
			t.Errorf("%s: status %+v", way.name, s)
		}
		run("rm", "-rf", file)
		writeFile(t, file, lines(time.Now().Format(time.RFC3339Nano)+" "+hostname(t)+" kernel: "+message, 3), 0o644)
		testhost.Eventually(t, way.name+": recovered, with what stands in the file", func() bool {
			s := a.source(t, f.source, f.path)
			return s.Up && s.Problem == "" && s.Matches == uint64(3*(i+1)) && h.faults(remediate.EventSourceRecovered, f) == i+1
		})
	}
	if n := h.faults(remediate.EventSourceDegraded, f); n != len(ways) {
		t.Errorf("degraded %d times, want %d", n, len(ways))
	}
	a.stop(t, syscall.SIGTERM)
	testhost.Held(t, "8.2 unreadable file", "removed and replaced in %d ways: said once each, every line of the file that followed read once",
		len(ways))
}
