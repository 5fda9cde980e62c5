package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/persist"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// helperSocket is what ctwarden-persist.socket is to systemd: a socket of root's for one group, and for each connection
// the helper as a process of its own.
type helperSocket struct {
	path string

	mu   sync.Mutex
	said strings.Builder // what the helpers wrote to their log
	each func(cmd *exec.Cmd)

	begun, done int // helpers
}

// before has f called with each helper that is to be started, in the goroutine of its connection; nil: nothing is.
func (h *helperSocket) before(f func(cmd *exec.Cmd)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.each = f
}

func startHelperSocket(t *testing.T, config string) *helperSocket {
	t.Helper()
	h := &helperSocket{path: filepath.Join(testhost.PublicDir(t), "persist.sock")}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: h.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chown(h.path, 0, testhost.Nobody), os.Chmod(h.path, 0o660)); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Add(1)
	go func() {
		defer all.Done()
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			all.Add(1)
			go func() {
				defer all.Done()
				h.serve(conn, config)
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); all.Wait() })
	return h
}

// serve hands the connection to a helper, and keeps what it says.
func (h *helperSocket) serve(conn *net.UnixConn, config string) {
	file, err := conn.File()
	conn.Close()
	if err == nil {
		defer file.Close()
		cmd := exec.Command(filepath.Join(bin, "ctwarden"), "persist-helper", "--config", config, "--user", strconv.Itoa(testhost.Nobody))
		var log strings.Builder
		cmd.Stdin, cmd.Stdout, cmd.Stderr = file, file, &log
		h.mu.Lock()
		h.begun++
		each := h.each
		h.mu.Unlock()
		if each != nil {
			each(cmd)
		}
		err = cmd.Run()
		h.mu.Lock()
		h.said.WriteString(log.String())
		h.done++
		h.mu.Unlock()
	}
	if err != nil {
		h.mu.Lock()
		h.said.WriteString("ended: " + err.Error() + "\n")
		h.mu.Unlock()
	}
}

// served is how many helpers have ended, and whether none is at work.
func (h *helperSocket) served() (ended int, idle bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.done, h.done == h.begun
}

func (h *helperSocket) log() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.said.String()
}

// TestPromisePersistHelper has an agent that may not write below /etc have its limit persisted, and taken back, by root's
// helper; and asks that helper for what it must not do.
func TestPromisePersistHelper(t *testing.T) {
	lock, ns := testkernel.First(t)
	testhost.NeedRestrictedLog(t)
	if err := lock.SetMax(limit); err != nil {
		t.Fatal(err)
	}
	// The limit is less than the kernel's default for this host: such a one has to be root's own will.
	own := fmt.Sprintf("/etc/sysctl.d/10-ctwarden-e2e-%d.conf", os.Getpid())
	writeFile(t, own, fmt.Sprintf("net.netfilter.nf_conntrack_max = %d\n", limit), 0o644)
	t.Cleanup(func() { os.Remove(own) })
	hub := startHub(t)
	a := newAgent(t, nobodysDir(t), plain(hub.url))
	helper := startHelperSocket(t, a.config)
	a.args = []string{"--persist-socket", helper.path}
	a.start(t, withCaps("net_admin", "syslog")...)
	watched(t, a, ns.Inode)
	press(t, ns)
	applied, confirmed := hub.confirmed(t)
	if confirmed.Persisted != a.persisted || confirmed.Error != "" || confirmed.To != applied.To {
		t.Errorf("applied %+v\nconfirmed %+v", applied, confirmed)
	}
	a.wantFile(t, applied.To)
	for _, file := range []string{a.persisted, moduleFile} {
		info, err := os.Stat(file)
		if err != nil {
			t.Error(err)
		} else if owner := info.Sys().(*syscall.Stat_t); owner.Uid != 0 || owner.Gid != 0 || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: of %d:%d, mode %v", file, owner.Uid, owner.Gid, info.Mode())
		}
	}
	testhost.Eventually(t, "the helper's log has it", func() bool { // it answers before
		return strings.Contains(helper.log(), "user 65534: limit") && strings.Contains(helper.log(), "persisted in "+a.persisted)
	})

	refused := refusedByHelper(t, helper, a, applied)
	a.wantFile(t, applied.To)

	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	hub.wait(t, remediate.EventIncidentClosed, 1)
	a.wantCommand(t, 0, nil, "raise", "--to", "100000")
	if byHand := hub.wait(t, remediate.EventStepConfirmed, 2).Data.(remediate.Step); byHand.Persisted != a.persisted {
		t.Errorf("by hand: %+v", byHand)
	}
	a.wantFile(t, 100000)
	a.wantCommand(t, 0, []string{a.persisted + " rewritten"}, "revert")
	a.wantFile(t, applied.To)
	a.wantCommand(t, 0, []string{a.persisted + " removed"}, "revert", "--all")
	wantLimit(t, limit)
	a.wantFile(t, 0)
	if _, err := os.Stat(moduleFile); !os.IsNotExist(err) {
		t.Errorf("%s: %v", moduleFile, err)
	}
	a.stop(t, syscall.SIGTERM)
	testhost.Held(t, "7.10 persisted by root's helper", "the agent as uid 65534, which may not write below /etc: limit %d persisted "+
		"in files of root's, and taken back; %d hostile requests refused, 0 files changed", applied.To, refused)
}

// refusedByHelper asks for what must not be done, as root, whom the socket lets in; it returns how often.
func refusedByHelper(t *testing.T, h *helperSocket, a *agentProcess, in remediate.Step) int {
	t.Helper()
	ask := persist.NewClient(h.path)
	steps := map[string]remediate.Step{
		persist.CodeChanged: {ID: "x", From: limit, To: in.To + 1, Reason: remediate.ReasonFull},
		persist.CodeCeiling: {ID: "x", From: limit, To: 200001, Reason: remediate.ReasonManual},
		persist.CodeRequest: {ID: "x\nkernel.core_pattern = |/x", From: limit, To: in.To, Reason: remediate.ReasonFull},
	}
	for code, s := range steps {
		_, err := ask.Persist(s, apply.PersistMeta{Buckets: 1})
		var refusal *persist.Refusal
		if !errors.As(err, &refusal) || refusal.Code != code {
			t.Errorf("%+v: %v, want the code %s", s, err, code)
		}
	}
	// A configuration that the agent's user could have written allows nothing.
	if err := os.Chown(a.config, testhost.Nobody, 0); err != nil {
		t.Fatal(err)
	}
	_, err := ask.Unpersist()
	if err == nil || !strings.Contains(err.Error(), "is not believed") {
		t.Errorf("with a configuration of the agent's user: %v", err)
	}
	if err := os.Chown(a.config, 0, 0); err != nil {
		t.Fatal(err)
	}
	// Another user of the host does not get in.
	out, err := exec.Command("setpriv", "--reuid=65533", "--regid=65533", "--clear-groups", filepath.Join(bin, "ctwarden"),
		"persist-helper").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "standard input is no") {
		t.Errorf("run by hand: %v: %s", err, out)
	}
	return len(steps) + 1
}

// TestNoHelperIsSaid has neither the right to write below /etc nor a helper: the step is taken, and the rest is said.
func TestNoHelperIsSaid(t *testing.T) {
	lock, ns := testkernel.First(t)
	testhost.NeedRestrictedLog(t)
	if err := lock.SetMax(limit); err != nil {
		t.Fatal(err)
	}
	hub := startHub(t)
	a := newAgent(t, nobodysDir(t), plain(hub.url))
	a.args = []string{"--persist-socket", filepath.Join(a.dir, "none.sock")}
	a.start(t, withCaps("net_admin", "syslog")...)
	watched(t, a, ns.Inode)
	press(t, ns)
	confirmed := hub.wait(t, remediate.EventStepConfirmed, 1).Data.(remediate.Step)
	if confirmed.Persisted != "" || !strings.Contains(confirmed.Error, "ermission denied") || !strings.Contains(confirmed.Error, "ctwarden-persist.socket") {
		t.Errorf("confirmed %+v", confirmed)
	}
	wantLimit(t, confirmed.To)
	a.wantFile(t, 0)
	a.stop(t, syscall.SIGTERM)
}
