package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// failpointEnv has a program that is built for it kill itself at a stage.
const failpointEnv = "CTWARDEN_FAILPOINT"

// failBuild is the agent with the failpoints, and with the race detector where these tests have it.
var failBuild = sync.OnceValues(func() (string, error) {
	path := filepath.Join(bin, "failpoint", "ctwarden")
	args := []string{"-tags", "failpoint", "-o", path, "../../cmd/ctwarden"}
	if raceDetector {
		args = append([]string{"-race"}, args...)
	}
	return path, goBuild(args...)
})

// sweepFiles removes the sysctl.d files of test programs that were killed: they would have a say in what is persisted.
func sweepFiles() error {
	names, err := filepath.Glob("/etc/sysctl.d/*-ctwarden-e2e-*.conf")
	if err != nil {
		return err
	}
	for _, name := range names {
		_, pid, _ := strings.Cut(strings.TrimSuffix(name, ".conf"), "-e2e-")
		n, err := strconv.Atoi(pid)
		if err != nil || !errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
			continue // it lives, or is none of ours
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// moduleFile comes with the first persisted limit in /etc/sysctl.d.
const moduleFile = "/etc/modules-load.d/ctwarden.conf"

// removeModuleFile removes it where a test's agent has written it: it names the agent's sysctl.d file.
func removeModuleFile(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(moduleFile)
	if err != nil || !strings.Contains(string(text), "-ctwarden-e2e-") {
		return
	}
	if err := os.Remove(moduleFile); err != nil {
		t.Error(err)
	}
}

// newFailing is an agent, not started yet, that can be killed at a stage.
func newFailing(t *testing.T, config string) *agentProcess {
	t.Helper()
	program, err := failBuild()
	if err != nil {
		t.Fatal(err)
	}
	a := newAgent(t, t.TempDir(), config)
	a.program = program
	return a
}

// until is what a program is started with to be killed at a stage, as stage or stage:n.
func until(stage string) []string { return []string{"env", failpointEnv + "=" + stage} }

// killed waits until the program has been killed at its stage.
func (p *process) killed(t *testing.T) {
	t.Helper()
	testhost.Eventually(t, "killed at its stage", func() bool {
		select {
		case <-p.ended:
			return true
		default:
			return false
		}
	})
	if ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		t.Fatalf("ended otherwise: %v\n%s", p.cmd.ProcessState, p.output)
	}
}

// startUntilKilled starts the agent, which does not live to say that it is ready.
func (a *agentProcess) startUntilKilled(t *testing.T, stage string) {
	t.Helper()
	args := append(until(stage), a.program, "run", "--config", a.config)
	a.process = launch(t, nil, args...)
	a.killed(t)
}

// orderUntilKilled gives an order while no agent runs; the program that carries it out is killed at a stage.
func (a *agentProcess) orderUntilKilled(t *testing.T, stage string, order ...string) {
	t.Helper()
	args := append(until(stage), a.program)
	launch(t, nil, append(append(args, order...), "--config", a.config)...).killed(t)
}

// agree waits until all is told and forgotten, and fails the test unless kernel, journal of steps and events agree on
// the limit.
func (a *agentProcess) agree(t *testing.T, h *hub, limit uint64) {
	t.Helper()
	testhost.Eventually(t, "everything is delivered, and no intent left", func() bool {
		left, err := filepath.Glob(filepath.Join(a.dir, "run", "intent-*"))
		return err == nil && len(left) == 0 && a.status(t).Outbox.Events == 0
	})
	wantLimit(t, limit)
	var last remediate.Step
	for _, s := range a.status(t).Steps { // the newest first
		if s.Keys["net.netfilter.nf_conntrack_max"] == s.To {
			last = s
			break
		}
	}
	if last.To != limit || last.Keys["net.nf_conntrack_max"] != limit {
		t.Errorf("the journal's last step is %+v; the limit is %d", last, limit)
	}
	h.once(t)
	h.told(t)
}

// told fails the test where a step or an incident was told of more than once, by its own id.
func (h *hub) told(t *testing.T) {
	t.Helper()
	times := map[string]int{}
	for _, r := range h.of("") {
		switch d := r.Event.Data.(type) {
		case remediate.Step:
			if d.ID != "" {
				times[fmt.Sprint(r.Event.Type, " ", d.ID)]++
			}
		case remediate.Incident:
			if r.Event.Type != remediate.EventIncidentUpdated {
				times[fmt.Sprint(r.Event.Type, " ", d.ID)]++
			}
		}
	}
	for what, n := range times {
		if n > 1 {
			t.Errorf("%d times %s", n, what)
		}
	}
}

// started waits for the nth start and fails the test unless it says what it found: says is a regular expression.
func (h *hub) started(t *testing.T, n int, says string) {
	t.Helper()
	notes := strings.Join(h.wait(t, remediate.EventAgentStarted, n).Data.(remediate.AgentState).Notes, "\n")
	if !regexp.MustCompile(says).MatchString(notes) {
		t.Errorf("the start says %q; want %s", notes, says)
	}
}

// steps lists the steps that the hub was told of by events of a type.
func (h *hub) steps(typ remediate.EventType) []remediate.Step {
	var out []remediate.Step
	for _, r := range h.of(typ) {
		out = append(out, r.Event.Data.(remediate.Step))
	}
	return out
}

// incidents lists the incidents of events of a type that are not about old records.
func incidents(events []notify.Received) []remediate.Incident {
	var out []remediate.Incident
	for _, r := range events {
		if i := r.Event.Data.(remediate.Incident); !i.Historical {
			out = append(out, i)
		}
	}
	return out
}

// TestShippedProgramHasNoFailpoints: the means to kill the agent from outside is in no program but the tests' own.
func TestShippedProgramHasNoFailpoints(t *testing.T) {
	program, err := failBuild()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		program: true, filepath.Join(bin, "ctwarden"): false, filepath.Join(bin, "ctwarden-hub"): false,
	} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), failpointEnv) != want {
			t.Errorf("%s knows %s: %v, want %v", path, failpointEnv, !want, want)
		}
	}
}
