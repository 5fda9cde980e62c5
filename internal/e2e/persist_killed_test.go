package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// helped is an agent of an ordinary user's, which raises by hand and has root's helper make that last.
type helped struct {
	*agentProcess
	hub    *hub
	helper *helperSocket
	at     uint64 // the limit
	raised int    // how often it was
}

func newHelped(t *testing.T) *helped {
	t.Helper()
	lock := testkernel.Hold(t)
	testhost.NeedRestrictedLog(t)
	setMax(t, lock, limit)
	// The limit is less than the kernel's default for this host: such a one has to be root's own will.
	own := fmt.Sprintf("/etc/sysctl.d/10-ctwarden-e2e-%d.conf", os.Getpid())
	writeFile(t, own, fmt.Sprintf("net.netfilter.nf_conntrack_max = %d\n", limit), 0o644)
	t.Cleanup(func() { os.Remove(own) })
	h := &helped{hub: startHub(t), at: limit}
	h.agentProcess = newAgent(t, nobodysDir(t), plain(h.hub.url))
	h.helper = startHelperSocket(t, h.config)
	h.args = []string{"--persist-socket", h.helper.path}
	h.begin(t)
	return h
}

func (h *helped) begin(t *testing.T) {
	t.Helper()
	h.start(t, withCaps("net_admin", "syslog")...)
}

// raise gives the order.
func (h *helped) raise(t *testing.T) {
	t.Helper()
	h.at += 10000
	h.raised++
	h.wantCommand(t, 0, nil, "raise", "--to", fmt.Sprint(h.at))
}

// lasts waits for what became of the newest order, and fails the test unless kernel, file and event agree on the limit
// that the file is to have.
func (h *helped) lasts(t *testing.T, file uint64) {
	t.Helper()
	confirmed := h.hub.wait(t, remediate.EventStepConfirmed, h.raised).Data.(remediate.Step)
	if confirmed.To != h.at || confirmed.Outcome != remediate.OutcomeEffective {
		t.Errorf("confirmed %+v, want one to %d", confirmed, h.at)
	}
	if persisted := file == h.at; persisted && (confirmed.Persisted != h.persisted || confirmed.Error != "") ||
		!persisted && (confirmed.Persisted != "" || !strings.Contains(confirmed.Error, "no answer from ctwarden-persist")) {
		t.Errorf("the file has %d: confirmed %+v", file, confirmed)
	}
	wantLimit(t, h.at)
	h.wantFile(t, file)
}

// killHelpers has the next so many helpers be killed at a stage.
func (h *helped) killHelpers(t *testing.T, stage string, times int32) {
	t.Helper()
	program, err := failBuild()
	if err != nil {
		t.Fatal(err)
	}
	var left atomic.Int32
	left.Store(times)
	h.helper.before(func(cmd *exec.Cmd) {
		if left.Add(-1) >= 0 {
			cmd.Path, cmd.Env = program, append(os.Environ(), until(stage)[1])
		}
	})
}

// TestPromiseHelperKilled kills root's helper at each stage of making a limit last and of taking that back. The agent asks
// again; where nobody answers it again, it says what the file has.
func TestPromiseHelperKilled(t *testing.T) {
	h := newHelped(t)
	kills := []struct {
		stage    string
		times    int32
		withdraw bool
		long     bool // left to the long form
		written  bool // where nobody answered, the file has it all the same
	}{
		{stage: "before_persist", times: 1},
		{stage: "after_persist", times: 1},
		{stage: "answer", times: 1},
		{stage: "request", times: 2},
		{stage: "answer", times: 2, written: true},
		{stage: "request", times: 1, withdraw: true, long: true},
		{stage: "before_withdraw", times: 1, withdraw: true, long: true},
		{stage: "after_withdraw", times: 1, withdraw: true},
		{stage: "answer", times: 2, withdraw: true},
	}
	done, killed, file := 0, 0, uint64(0)
	for _, k := range kills {
		if k.long && !testhost.Long() {
			continue
		}
		if k.withdraw {
			if file != h.at {
				h.helper.before(nil)
				h.raise(t)
				h.lasts(t, h.at)
			}
			h.killHelpers(t, k.stage, k.times)
			h.wantCommand(t, 0, []string{h.persisted + " removed"}, "revert", "--all")
			h.at, file = limit, 0
			wantLimit(t, limit)
			h.wantFile(t, 0)
		} else {
			h.killHelpers(t, k.stage, k.times)
			h.raise(t)
			if k.times == 1 || k.written {
				file = h.at
			}
			h.lasts(t, file)
		}
		done, killed = done+1, killed+int(k.times)
		testhost.Eventually(t, "they were killed there", func() bool {
			return strings.Count(h.helper.log(), "ended: signal: killed") == killed
		})
	}
	h.agree(t, h.hub, h.at)
	h.stop(t, syscall.SIGTERM)
	testhost.Held(t, "3.9 root's helper killed", "killed %d times at %d stages of persisting and withdrawing, by SIGKILL: "+
		"kernel, journal of steps, events and file agree after each", killed, done)
}

// askThen has the helper of the next request held up, gives the order, and does something to the agent while it waits for
// the answer; then the helper goes on, and has ended when askThen returns.
func (h *helped) askThen(t *testing.T, order, do func()) {
	t.Helper()
	asked, goOn := make(chan struct{}, 1), make(chan struct{})
	h.helper.before(func(cmd *exec.Cmd) {
		request := []unix.PollFd{{Fd: int32(cmd.Stdin.(*os.File).Fd()), Events: unix.POLLIN}}
		if n, err := unix.Poll(request, 5000); n != 1 || err != nil {
			t.Errorf("wait for the request: %v", err)
		}
		select {
		case asked <- struct{}{}:
			<-goOn
		default: // the next one, of the agent's new start
		}
	})
	before := 0
	testhost.Eventually(t, "the helper of before has ended", func() (idle bool) { // it answers a moment earlier
		before, idle = h.helper.served()
		return idle
	})
	order()
	testhost.Eventually(t, "the helper is asked", func() bool { return len(asked) == 1 })
	do()
	close(goOn)
	testhost.Eventually(t, "the helper has ended", func() bool {
		ended, _ := h.helper.served()
		return ended > before
	})
}

// TestPromiseKilledWhileAsking kills the agent after it has asked root's helper, and before it has heard.
func TestPromiseKilledWhileAsking(t *testing.T) {
	h := newHelped(t)
	kill := func() { h.stop(t, syscall.SIGKILL) }

	h.askThen(t, func() { h.raise(t) }, kill)
	h.wantFile(t, 0) // nobody waited for it
	if !strings.Contains(h.helper.log(), "refused: gone") {
		t.Errorf("the helper says\n%s", h.helper.log())
	}
	h.begin(t)
	h.lasts(t, h.at)

	h.askThen(t, func() { h.raise(t) }, func() { h.freeze(t) })
	h.wantFile(t, h.at)
	kill()
	h.begin(t)
	h.hub.started(t, 3, "had been made to last")
	h.lasts(t, h.at)

	h.askThen(t, func() { launch(t, nil, filepath.Join(bin, "ctwarden"), "revert", "--all", "--config", h.config) }, kill)
	h.wantFile(t, h.at)
	h.begin(t)
	testhost.Eventually(t, "the file follows the revert", func() bool {
		_, err := os.Stat(h.persisted)
		return os.IsNotExist(err)
	})
	h.agree(t, h.hub, limit)
	h.wantFile(t, 0)
	h.stop(t, syscall.SIGTERM)
	h.hub.once(t)
	testhost.Held(t, "3.9 agent killed while it asks", "killed 3 times between asking root's helper and hearing: what nobody waited for was not "+
		"begun, and kernel, journal of steps, events and file agree after the next start")
}

// TestHelperSeesOtherWriters has the helper refuse a limit below what kube-proxy will set, whose process it sees although
// its unit hides those of others: it is in the group 0, which they are not hidden from.
func TestHelperSeesOtherWriters(t *testing.T) {
	h := newHelped(t)
	kube := filepath.Join(testhost.PublicDir(t), "kube-proxy") // a script has its name as its process's
	writeFile(t, kube, "#!/bin/sh\nread -r line\n", 0o755)
	running := exec.Command(asNobody[0], append(slices.Clone(asNobody[1:]), kube, "--conntrack-max-per-core=1", "--conntrack-min=150000")...)
	hold, err := running.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	ended, err := testhost.Spawn(running)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hold.Close(); <-ended })
	h.helper.before(func(cmd *exec.Cmd) { // as ctwarden-persist@.service has it
		wrap := []string{"unshare", "-m", "sh", "-c", `mount -t proc -o hidepid=invisible proc /proc && exec "$@"`, "sh",
			"setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"}
		cmd.Path, cmd.Args = "/usr/bin/unshare", append(wrap, cmd.Args...)
	})
	h.raise(t)
	confirmed := h.hub.wait(t, remediate.EventStepConfirmed, 1).Data.(remediate.Step)
	if confirmed.Persisted != "" || !strings.Contains(confirmed.Error, "150000") || !strings.Contains(confirmed.Error, "kube-proxy") {
		t.Errorf("confirmed %+v", confirmed)
	}
	h.wantFile(t, 0)
	h.stop(t, syscall.SIGTERM)
}
