package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// nobodyConfig takes the list of NATS servers, the directory of the journal and the list of syslog files.
const nobodyConfig = `
mode: remediate
site: e2e
incident: {close_after: 1s, pressure: 0.97}
remediate: {ceiling: 200000, max_step: 2, max_insert_rate: 1000, persist_file: PERSIST}
nats: {servers: [%s]}
sources: {lookback: 0s, journal: {directory: %s}, syslog: {files: [%s]}}
`

// TestWithoutPermissions runs the agent as an ordinary user, who may read one of three sources and write nothing.
func TestWithoutPermissions(t *testing.T) {
	lock, ns := testkernel.First(t)
	testhost.NeedRestrictedLog(t)
	if err := lock.SetMax(limit); err != nil {
		t.Fatal(err)
	}
	h := startHub(t)
	a := newAgent(t, nobodysDir(t), "")
	file, journal := filepath.Join(a.dir, "kern.log"), filepath.Join(a.dir, "journal")
	writeFile(t, file, "", 0o644)
	if err := os.Mkdir(journal, 0o700); err != nil {
		t.Fatal(err)
	}
	a.configure(t, fmt.Sprintf(nobodyConfig, h.url, journal, file))
	a.start(t, asNobody...)

	for _, s := range []struct {
		source remediate.Source
		path   string
		remedy string
	}{
		{remediate.SourceKmsg, "", "CAP_SYSLOG"},
		{remediate.SourceJournal, journal, "systemd-journal"},
	} {
		got := a.source(t, s.source, s.path)
		if got.Up || !strings.Contains(got.Problem, "permi") || !strings.Contains(got.Remedy, s.remedy) {
			t.Errorf("%s: up %v, problem %q, remedy %q; want it down, with %q", s.source, got.Up, got.Problem, got.Remedy, s.remedy)
		}
		a.said(t, 1, got.Problem+"; "+got.Remedy)
	}
	if got := a.source(t, remediate.SourceSyslog, file); !got.Up {
		t.Errorf("the file that may be read: %+v", got)
	}
	fill(t, ns, a)
	opened := live(t, h, remediate.EventIncidentOpened)
	refused := h.wait(t, remediate.EventStepRefused, 1).Data.(remediate.Step)
	if refused.Reason != remediate.ReasonReadOnly || refused.IncidentID != opened.ID || !opened.Verified {
		t.Errorf("refused %+v\nfor %+v", refused, opened)
	}
	writeFile(t, file, time.Now().Format(time.RFC3339Nano)+" "+hostname(t)+" kernel: "+message+"\n", 0o644)
	testhost.Eventually(t, "the line of the file is counted", func() bool {
		return a.source(t, remediate.SourceSyslog, file).Matches == 1
	})
	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	if closed := live(t, h, remediate.EventIncidentClosed); closed.Matches != 1 || closed.Drops == 0 {
		t.Errorf("closed %+v, want one match", closed)
	}
	a.wantCommand(t, 0, []string{"read-only"}, "status")
	a.stop(t, syscall.SIGTERM)
	h.wait(t, remediate.EventAgentStopped, 1)
	if n := len(h.of(remediate.EventStepRefused)); n != 1 {
		t.Errorf("%d step.refused, want one", n)
	}
	wantLimit(t, limit)
	a.wantFile(t, 0)
}

func hostname(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestCannotStart has conditions under which there is nothing to do but say why.
func TestCannotStart(t *testing.T) {
	testhost.NeedRoot(t)
	const (
		off   = "sources: {kmsg: {enabled: false}, journal: {enabled: false}, syslog: {files: [DIR/readable]}}\n"
		kmsg  = "sources: {kmsg: {enabled: true}, journal: {enabled: false}, syslog: {files: [DIR/readable]}}\n"
		none  = "sources: {journal: {directory: DIR/secret}, syslog: {files: [DIR/secret/kern.log, DIR/missing]}}\n"
		other = "sources: {kmsg: {enabled: false}, journal: {enabled: false}, syslog: {enabled: true, files: [DIR/missing]}}\n"
	)
	for _, c := range []struct {
		name, config string
		prepare      func(t *testing.T, dir string)
		as           []string
		want         []string
	}{
		{"nothing can be read", none, nil, asNobody, []string{"no source", "/dev/kmsg", "CAP_SYSLOG", "DIR/secret", "systemd-journal", "DIR/missing"}},
		{"a source that must be there may not be read", kmsg, nil, asNobody, []string{"/dev/kmsg", "permi", "CAP_SYSLOG"}},
		{"a file that must be there is not", other, nil, nil, []string{"DIR/missing", "does not exist"}},
		{"state_dir may not be written", off, func(t *testing.T, dir string) {
			if err := os.Chown(filepath.Join(dir, "state"), 0, 0); err != nil {
				t.Fatal(err)
			}
		}, asNobody, []string{"state_dir DIR/state must belong", "permission denied"}},
		{"runtime_dir may not be written", off, func(t *testing.T, dir string) {
			if err := os.Chown(filepath.Join(dir, "run"), 0, 0); err != nil {
				t.Fatal(err)
			}
		}, asNobody, []string{"runtime_dir DIR/run must belong", "permission denied"}},
		{"state_dir is a file", off, func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "state")); err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(dir, "state"), "", 0o644)
		}, nil, []string{"DIR/state", "not a directory"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.as != nil {
				testhost.NeedRestrictedLog(t)
			}
			dir := nobodysDir(t)
			if c.as == nil { // root's program wants its own directories
				for _, sub := range []string{"state", "run"} {
					if err := os.Chown(filepath.Join(dir, sub), 0, 0); err != nil {
						t.Fatal(err)
					}
				}
			}
			writeFile(t, filepath.Join(dir, "readable"), "", 0o644)
			if err := os.Mkdir(filepath.Join(dir, "secret"), 0o700); err != nil {
				t.Fatal(err)
			}
			if c.prepare != nil {
				c.prepare(t, dir)
			}
			a := newAgent(t, dir, strings.ReplaceAll(c.config, "DIR", dir))
			said, code := runToEnd(t, append(append([]string{}, c.as...), filepath.Join(bin, "ctwarden"), "run", "--config", a.config)...)
			if code != 3 {
				t.Errorf("exit code %d, want 3", code)
			}
			_, last, _ := strings.Cut(said, "ctwarden: ") // behind the log
			for _, want := range c.want {
				wantWords(t, last, strings.ReplaceAll(want, "DIR", dir))
			}
		})
	}
}

// TestReadOnlyLimit runs the agent in a namespace of its own, as in a container: the limit can be seen there, but not
// set, and it has one name only.
func TestReadOnlyLimit(t *testing.T) {
	_, ns := lowered(t)
	a := startAgent(t, plain(), "ip", "netns", "exec", ns.Name)
	a.said(t, 1, `problem	{"about": "read_only", "error": "the limit cannot be written from here; set it on the host, or run`)
	fill(t, ns, a)
	a.said(t, 1, "incident.opened: critical")
	testhost.Eventually(t, "the incident is open", func() bool { return len(a.status(t).Incidents) == 1 })
	a.wantCommand(t, 0, []string{"read-only for this process", "net.nf_conntrack_max is not here", "set it on the host"}, "status")
	a.wantCommand(t, 1, []string{"read_only", "set it on the host"}, "raise", "--to", "50000")
	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	a.said(t, 1, "incident.closed: critical")
	a.said(t, 1, "step.refused: 20000 → 40000 not done: read_only (the limit cannot be written from here; set it on the host)")
	a.stop(t, syscall.SIGTERM)
	a.said(t, 1, "agent.stopped")
	wantLimit(t, limit)
}

// TestSyslogFileAppears has a file that is made after the start.
func TestSyslogFileAppears(t *testing.T) {
	h := startHub(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "kern.log")
	a := newAgent(t, dir, fmt.Sprintf(`
site: e2e
nats: {servers: [%s]}
sources: {journal: {directory: %s/none}, syslog: {files: [%s]}}
`, h.url, dir, file))
	a.start(t)
	a.said(t, 2, "source not used") // the journal and the file
	a.said(t, 1, "nothing needs doing where systemd-journald does not run")
	testhost.Eventually(t, "kmsg is caught up", func() bool { return a.source(t, remediate.SourceKmsg, "").CaughtUp })
	a.wantCommand(t, 0, []string{"syslog " + file + ": not used", "kmsg: up"}, "status")
	writeFile(t, file, lines(time.Now().Format(time.RFC3339Nano)+" "+hostname(t)+" kernel: "+message, 3), 0o644)
	if s := h.wait(t, remediate.EventSourceRecovered, 1).Data.(remediate.SourceState); s.Path != file {
		t.Errorf("recovered %+v, want %s", s, file)
	}
	testhost.Eventually(t, "its lines are read", func() bool { return a.source(t, remediate.SourceSyslog, file).Matches == 3 })
	h.wait(t, remediate.EventMatchUnverified, 1)
}
