package installed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
)

// machine is a root that systemd-nspawn has booted: a host with a systemd, a journald and an rsyslogd of its own, on this
// host's kernel.
type machine struct {
	*root
	network string // the name of its network namespace below /run/netns; empty: this host's own
	console string // the file that its console goes to
	nspawn  *exec.Cmd
	ended   <-chan error
	leader  int           // its first process, as seen from here
	begun   time.Duration // when it was set up, by the clock of the kernel's log
}

// bootIDFile gives the agent the ID of the machine's boot.
const bootIDFile = "/usr/local/lib/systemd/system/ctwarden.service.d/machine.conf"

// boot boots a root until the end of the test.
func boot(t *testing.T, r *root, ns *testkernel.Namespace) *machine {
	t.Helper()
	need(t, "systemd-nspawn")
	m := &machine{root: r, network: ns.Name, console: filepath.Join(t.TempDir(), "console"), begun: sinceBoot(t)}
	m.prepare(t)
	m.start(t)
	t.Cleanup(func() {
		if t.Failed() {
			m.tell(t)
		}
		m.kill()
	})
	return m
}

// prepare sets up what a machine on this host's kernel must not do to it, and what nspawn hides or gets in the way of.
func (m *machine) prepare(t *testing.T) {
	t.Helper()
	m.write(t, "/etc/hostname", "wardened\n")
	// nspawn puts a pipe in the place of /proc/kmsg, from which rsyslog reads the kernel's log on a host.
	m.write(t, "/etc/systemd/system/rsyslog.service.d/machine.conf", "[Service]\nExecStartPre=-+/bin/umount /proc/kmsg\n")
	// The settings of the network are this host's where the machine has no network of its own. It is as with a module that
	// is loaded late: systemd-sysctl comes to nothing.
	if err := os.Symlink("/dev/null", m.path("/etc/systemd/system/systemd-sysctl.service")); err != nil {
		t.Fatal(err)
	}
	if m.suite == "trixie" { // whose systemd gives a service the /proc that is there
		return
	}
	// nspawn makes up an ID for each boot and mounts it over the kernel's. A service that gets a /proc of its own, as ours
	// does from older systemds, would see the kernel's, and every record of the journal would be of another boot.
	m.write(t, "/etc/systemd/system/boot-id.service", `[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/cp /proc/sys/kernel/random/boot_id /run/boot_id
`)
	m.write(t, bootIDFile, `[Unit]
Requires=boot-id.service
After=boot-id.service
[Service]
BindReadOnlyPaths=/run/boot_id:/proc/sys/kernel/random/boot_id
`)
}

// start boots the machine and waits until its services have been started.
func (m *machine) start(t *testing.T) {
	t.Helper()
	console, err := os.OpenFile(m.console, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	// nspawn is the first process of a namespace of its own, so that all ends with it, also where the test is killed.
	args := []string{"--target", strconv.Itoa(m.holder), "--mount", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
		"systemd-nspawn", "--directory=" + m.dir, "--boot", "--quiet", "--register=no", "--keep-unit", "--console=pipe", "--bind=/dev/kmsg", "--capability=CAP_SYSLOG,CAP_NET_ADMIN",
		"--resolv-conf=off", "--timezone=off", "--link-journal=no"}
	m.nspawn = exec.Command("nsenter", args...)
	m.nspawn.Env = append(os.Environ(), "SYSTEMD_NSPAWN_API_VFS_WRITABLE=network")
	if m.network != "" {
		m.nspawn.Args = append(m.nspawn.Args, "--network-namespace-path=/run/netns/"+m.network)
	}
	m.nspawn.Stdout, m.nspawn.Stderr = console, console
	if m.ended, err = testhost.Spawn(m.nspawn); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	testhost.Eventually(t, "systemd-nspawn starts the first process", func() bool {
		m.mustRun(t)
		m.leader = firstProcess(m.nspawn.Process.Pid)
		return m.leader != 0
	})
	state := ""
	testhost.Eventually(t, "the machine is up", func() bool {
		m.mustRun(t)
		state, _ = m.try(t, "systemctl", "is-system-running")
		state = strings.TrimSpace(state)
		return state == "running" || state == "degraded"
	})
	t.Logf("booted in %v: %s", time.Since(begin).Round(100*time.Millisecond), state)
}

func (m *machine) mustRun(t *testing.T) {
	t.Helper()
	select {
	case err := <-m.ended:
		text, _ := os.ReadFile(m.console)
		testhost.Skip(t, fmt.Sprintf("needs systemd-nspawn to work here: %v: %s", err, tail(string(text), 2000)))
	default:
	}
}

// firstProcess is the descendant of a process that is the first of a PID namespace within nspawn's; 0: there is none yet.
func firstProcess(of int) int {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", of))
	for _, task := range tasks {
		children, _ := os.ReadFile(task)
		for _, child := range strings.Fields(string(children)) {
			status, _ := os.ReadFile(filepath.Join("/proc", child, "status"))
			pids := strings.Fields(statusLine(string(status), "NSpid"))
			pid, _ := strconv.Atoi(child)
			if len(pids) == 3 && pids[2] == "1" {
				return pid
			}
			if found := firstProcess(pid); found != 0 {
				return found
			}
		}
	}
	return 0
}

// statusLine is what a /proc/<pid>/status says under a name.
func statusLine(status, name string) string {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// command is a command that runs in the machine as root.
func (m *machine) command(ctx context.Context, args ...string) *exec.Cmd {
	command := append([]string{"--target", strconv.Itoa(m.leader), "--all", "env", "-i"}, m.environment...)
	cmd := exec.CommandContext(ctx, "nsenter", append(command, args...)...)
	cmd.WaitDelay = time.Second // nsenter's child outlives it and holds the pipe
	return cmd
}

// run runs a command in the machine, which must succeed.
func (m *machine) run(t *testing.T, args ...string) string {
	t.Helper()
	out, code := m.try(t, args...)
	if code != 0 {
		t.Fatalf("%s: exit %d: %s", strings.Join(args, " "), code, out)
	}
	return out
}

// try runs a command in the machine and returns what it wrote and its exit code.
func (m *machine) try(t *testing.T, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandTime) // also after the test
	defer cancel()
	return runToEnd(t, m.command(ctx, args...))
}

// reboot has the machine stop in order and boot again. Between is called in between.
func (m *machine) reboot(t *testing.T, between func()) {
	t.Helper()
	const powerOff = 34 + 4 // SIGRTMIN+4, which systemd takes for systemctl poweroff
	if err := syscall.Kill(m.leader, syscall.Signal(powerOff)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-m.ended:
	case <-time.After(time.Minute):
		t.Fatal("the machine does not stop")
	}
	between()
	m.start(t)
}

// kill ends the machine at once, with all its processes.
func (m *machine) kill() {
	_ = m.nspawn.Process.Kill() // it may have ended already
	<-m.ended
}

// tell says what a failed test may have failed on.
func (m *machine) tell(t *testing.T) {
	t.Helper()
	if m.leader == 0 || syscall.Kill(m.leader, 0) != nil { // it never ran, or has ended
		text, _ := os.ReadFile(m.console)
		t.Logf("the machine does not run; its console:\n%s", tail(string(text), 4000))
		return
	}
	for _, command := range []string{
		"systemctl --no-pager --failed", "systemctl --no-pager --lines=0 --full status ctwarden.service ctwarden-hub.service",
		"journalctl --no-pager --no-hostname -n 120 -o short-monotonic _COMM=ctwarden + _COMM=ctwarden-hub + UNIT=ctwarden.service" +
			" + UNIT=ctwarden-hub.service + SYSLOG_IDENTIFIER=ctwarden",
	} {
		out, _ := m.try(t, strings.Fields(command)...)
		t.Logf("%s:\n%s", command, out)
	}
}
