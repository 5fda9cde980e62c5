package e2e

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// bin holds the programs, built once.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "ctw-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o755); err != nil { // one test runs the program as another user
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		bin = dir
		if err := sweepFiles(); err != nil && os.Geteuid() == 0 {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		args := []string{"-o", dir + "/", "../../cmd/ctwarden", "../../cmd/ctwarden-hub"}
		if raceDetector {
			args = append([]string{"-race"}, args...)
		}
		if err := goBuild(args...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

func goBuild(args ...string) error {
	if out, err := exec.Command("go", append([]string{"build"}, args...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	return nil
}

// plainBuild is the agent without the race detector, for tests that measure memory, CPU or time.
var plainBuild = sync.OnceValues(func() (string, error) {
	path := filepath.Join(bin, "ctwarden")
	if !raceDetector {
		return path, nil
	}
	path = filepath.Join(bin, "plain", "ctwarden")
	return path, goBuild("-o", path, "../../cmd/ctwarden")
})

// process is a program of ours that runs.
type process struct {
	cmd    *exec.Cmd
	output *lockedBuffer
	ended  <-chan error // closed when it has ended
}

func launch(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(args[0], args[1:]...), output: &lockedBuffer{}}
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.Env = append(os.Environ(), env...)
	var err error
	if p.ended, err = testhost.Spawn(p.cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.stop(t, syscall.SIGTERM)
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(args[0]), tail(p.output.String(), 8<<10))
		}
	})
	return p
}

// stop signals the process and waits for its end; it returns how long that took.
func (p *process) stop(t *testing.T, sig syscall.Signal) time.Duration {
	t.Helper()
	start := time.Now()
	_ = p.cmd.Process.Signal(sig) // it may have ended already
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		t.Errorf("still running 10 s after %v", sig)
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	return time.Since(start)
}

// says waits until the output matches.
func (p *process) says(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var found []string
	testhost.Eventually(t, "says "+pattern, func() bool {
		select {
		case <-p.ended:
			t.Fatalf("ended without saying %s:\n%s", pattern, p.output)
		default:
		}
		found = re.FindStringSubmatch(p.output.String())
		return found != nil
	})
	return found
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// hub is the hub with its NATS server, and what it has received.
type hub struct {
	*process
	url string

	mu     sync.Mutex
	events []notify.Received
}

func startHub(t *testing.T) *hub {
	t.Helper()
	return startHubAt(t, "127.0.0.1:0", t.TempDir())
}

// startHubAt starts a hub on an address with a store that may hold what another hub before it received.
func startHubAt(t *testing.T, listen, store string, more ...string) *hub {
	t.Helper()
	args := append([]string{filepath.Join(bin, "ctwarden-hub"), "serve", "--embedded", "--listen", listen, "--store", store}, more...)
	p := launch(t, nil, args...)
	h := &hub{process: p, url: p.says(t, `ready at (nats://127\.0\.0\.1:\d+)`)[1]}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := notify.Events(ctx, notify.Dial{Servers: []string{h.url}}, notify.Filter{Since: time.Hour}, h.take)
		if err != nil {
			t.Errorf("events: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return h
}

func (h *hub) take(raw []byte) error {
	r, err := notify.Decode(raw)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, r)
	return nil
}

// of returns the events of a type, all of them if it is empty.
func (h *hub) of(typ remediate.EventType) []notify.Received {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []notify.Received
	for _, r := range h.events {
		if typ == "" || r.Event.Type == typ {
			out = append(out, r)
		}
	}
	return out
}

// wait waits for the nth event of a type, counted from 1, and returns it.
func (h *hub) wait(t *testing.T, typ remediate.EventType, n int) remediate.Event {
	t.Helper()
	testhost.Eventually(t, fmt.Sprintf("%d %s", n, typ), func() bool { return len(h.of(typ)) >= n })
	return h.of(typ)[n-1].Event
}

// confirmed waits for the outcome of a chain of steps, of which there are more where the table fills up faster, and returns
// the last one as it was applied and as it was confirmed.
func (h *hub) confirmed(t *testing.T) (applied, confirmed remediate.Step) {
	t.Helper()
	confirmed = h.wait(t, remediate.EventStepConfirmed, 1).Data.(remediate.Step)
	for _, got := range h.of(remediate.EventStepApplied) {
		if s := got.Event.Data.(remediate.Step); s.ID == confirmed.ID {
			return s, confirmed
		}
	}
	t.Fatalf("confirmed without having been applied: %+v", confirmed)
	return applied, confirmed
}

// once fails the test where an event came twice.
func (h *hub) once(t *testing.T) {
	t.Helper()
	seen := map[string]bool{}
	for _, r := range h.of("") {
		if seen[r.Event.ID] {
			t.Errorf("%s %s came twice", r.Event.Type, r.Event.ID)
		}
		seen[r.Event.ID] = true
	}
}

// agentProcess is the agent with a configuration of its own.
type agentProcess struct {
	*process
	dir, config, persisted string
	program                string // empty: the one that bin holds
	metrics                string // where they are served; empty: nowhere
	env                    []string
	args                   []string // of run, besides the configuration
}

// startAgent writes the configuration, starts the agent and waits until it tells systemd that it is ready.
func startAgent(t *testing.T, config string, wrap ...string) *agentProcess {
	t.Helper()
	a := newAgent(t, t.TempDir(), config)
	a.start(t, wrap...)
	return a
}

// newAgent is an agent that is not started yet, with its configuration and all its files in dir.
func newAgent(t *testing.T, dir, config string) *agentProcess {
	t.Helper()
	a := &agentProcess{dir: dir, config: filepath.Join(dir, "ctwarden.yaml")}
	a.persisted = fmt.Sprintf("/etc/sysctl.d/99-zz-ctwarden-e2e-%d.conf", os.Getpid())
	t.Cleanup(func() { os.Remove(a.persisted); removeModuleFile(t) })
	a.configure(t, config)
	return a
}

// configure writes the configuration.
func (a *agentProcess) configure(t *testing.T, config string) {
	t.Helper()
	text := strings.ReplaceAll(config, "PERSIST", a.persisted) +
		fmt.Sprintf("\nstate_dir: %s/state\nruntime_dir: %s/run\nmetrics: {listen: %q}\n", a.dir, a.dir, a.metrics)
	if err := os.WriteFile(a.config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (a *agentProcess) start(t *testing.T, wrap ...string) {
	t.Helper()
	socket := filepath.Join(a.dir, "notify")
	_ = os.Remove(socket) // of the start before
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := os.Chmod(socket, 0o666); err != nil { // the agent may be another user
		t.Fatal(err)
	}
	args := append(wrap, cmp.Or(a.program, filepath.Join(bin, "ctwarden")), "run", "--config", a.config)
	args = append(args, a.args...)
	a.process = launch(t, append([]string{"NOTIFY_SOCKET=" + socket}, a.env...), args...)
	buf := make([]byte, 4096)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("not ready: %v\n%s", err, a.output)
		}
		if bytes.Contains(buf[:n], []byte("READY=1")) {
			return
		}
	}
}

func (a *agentProcess) status(t *testing.T) agent.Status {
	t.Helper()
	s, err := agent.NewClient(agent.ControlSocket(filepath.Join(a.dir, "run"))).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ctwarden runs a command to its end and returns its output and exit code.
func ctwarden(t *testing.T, args ...string) (string, int) {
	t.Helper()
	return runToEnd(t, append([]string{filepath.Join(bin, "ctwarden")}, args...)...)
}

func runToEnd(t *testing.T, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// lines returns n lines of text.
func lines(text string, n int) string { return strings.Repeat(text+"\n", n) }
