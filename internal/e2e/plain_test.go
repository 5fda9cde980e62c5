package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// plainConfig is the agent in remediate mode with the kernel's ring buffer as its only source. The arguments are the
// list of NATS servers, in YAML.
const plainConfig = `
mode: remediate
site: e2e
incident: {close_after: 1s, pressure: 0.97}
remediate: {ceiling: 200000, max_step: 2, max_insert_rate: 1000, persist_file: PERSIST}
sources: {lookback: 0s, kmsg: {enabled: true}, journal: {enabled: false}, syslog: {enabled: false}}
nats: {servers: [%s]}
`

func plain(servers ...string) string {
	return fmt.Sprintf(plainConfig, strings.Join(servers, ", "))
}

// lowered takes the kernel's limit for the test and lowers it, and makes a namespace to fill.
func lowered(t *testing.T) (*testkernel.Lock, *testkernel.Namespace) {
	t.Helper()
	lock := testkernel.Hold(t)
	ns := testkernel.Scratch(t)
	if err := lock.SetMax(limit); err != nil {
		t.Fatal(err)
	}
	return lock, ns
}

// fill has the kernel refuse for sure: the entries of established connections are never thrown out to make room. The
// agents that run stand still meanwhile, as on a host that is too busy, or they would see it come and step before.
func fill(t *testing.T, ns *testkernel.Namespace, agents ...*agentProcess) {
	t.Helper()
	before := drops(t, ns)
	for _, a := range agents {
		a.freeze(t)
		defer a.thaw(t)
	}
	if _, err := ns.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: limit + 5000}); err != nil {
		t.Fatal(err)
	}
	if drops(t, ns) == before {
		t.Fatal("nothing was refused")
	}
}

// freeze has the kernel give the process no time until thaw.
func (p *process) freeze(t *testing.T) { t.Helper(); p.signal(t, syscall.SIGSTOP) }

func (p *process) thaw(t *testing.T) { t.Helper(); p.signal(t, syscall.SIGCONT) }

func (p *process) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Errorf("%v: %v", sig, err)
	}
}

// limitNow is the limit under both of its names, which must agree.
func limitNow(t *testing.T) uint64 {
	t.Helper()
	now, err := testkernel.ReadLimits()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/sys/net/nf_conntrack_max")
	if err != nil || strings.TrimSpace(string(text)) != fmt.Sprint(now.Max) {
		t.Errorf("net.nf_conntrack_max = %s (%v), but net.netfilter.nf_conntrack_max = %d", text, err, now.Max)
	}
	return now.Max
}

// wantLimit fails the test unless that is the limit.
func wantLimit(t *testing.T, want uint64) {
	t.Helper()
	if got := limitNow(t); got != want {
		t.Errorf("limit %d, want %d", got, want)
	}
}

// command runs a command of ctwarden's with the agent's configuration.
func (a *agentProcess) command(t *testing.T, args ...string) (string, int) {
	t.Helper()
	return ctwarden(t, append(args, "--config", a.config)...)
}

// wantCommand runs a command and fails the test unless it ends with the code and says all of the words.
func (a *agentProcess) wantCommand(t *testing.T, code int, words []string, args ...string) {
	t.Helper()
	said, got := a.command(t, args...)
	if got != code {
		t.Errorf("%v: exit code %d, want %d", args, got, code)
	}
	wantWords(t, said, words...)
}

func wantWords(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%q is not in:\n%s", word, text)
		}
	}
}

// wantFile fails the test unless the persisted file sets the limit; 0: unless it is not there.
func (a *agentProcess) wantFile(t *testing.T, limit uint64) {
	t.Helper()
	text, err := os.ReadFile(a.persisted)
	switch {
	case limit == 0 && !os.IsNotExist(err):
		t.Errorf("%s is there (%v):\n%s", a.persisted, err, text)
	case limit > 0:
		wantWords(t, string(text), fmt.Sprintf("net.netfilter.nf_conntrack_max = %d\n", limit),
			fmt.Sprintf("net.nf_conntrack_max = %d\n", limit))
	}
}

// source returns the status of one stream.
func (a *agentProcess) source(t *testing.T, source remediate.Source, path string) agent.SourceStatus {
	t.Helper()
	all := a.status(t).Sources
	i := slices.IndexFunc(all, func(s agent.SourceStatus) bool { return s.Source == source && s.Path == path })
	if i < 0 {
		t.Fatalf("no source %s %s in %+v", source, path, all)
	}
	return all[i]
}

// said waits until the agent's log says something so many times, and fails the test where it says it more often.
func (a *agentProcess) said(t *testing.T, times int, what string) {
	t.Helper()
	testhost.Eventually(t, fmt.Sprintf("%d times %q in the log", times, what), func() bool {
		return strings.Count(a.output.String(), what) >= times
	})
	if n := strings.Count(a.output.String(), what); n != times {
		t.Errorf("%q is in the log %d times, want %d", what, n, times)
	}
}

// nobodysDir is a directory with a state_dir and a runtime_dir in it that an ordinary user may write to.
func nobodysDir(t *testing.T) string {
	t.Helper()
	dir := testhost.PublicDir(t)
	for _, sub := range []string{"state", "run"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(dir, sub), testhost.Nobody, testhost.Nobody); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// asNobody runs what follows as an ordinary user without any capability.
var asNobody = []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--no-new-privs"}

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// newMeasured has an agent whose memory, CPU or time is measured ready to start, with metrics at a URL and a hub; the form of
// its configuration takes the hub's URL and an empty log file.
func newMeasured(t *testing.T, form string) (h *hub, a *agentProcess, file, metrics string) {
	t.Helper()
	program, err := plainBuild()
	if err != nil {
		t.Fatal(err)
	}
	h = startHub(t)
	dir := t.TempDir()
	file = filepath.Join(dir, "kern.log")
	writeFile(t, file, "", 0o644)
	a = newAgent(t, dir, fmt.Sprintf(form, h.url, file))
	a.program = program
	return h, a, file, a.withMetrics(t)
}
