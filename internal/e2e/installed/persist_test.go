package installed

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// hostConfig is for a machine in this host's own network namespace, where the limit can be written.
const hostConfig = `mode: remediate
incident: {close_after: 1m, update_every: 1s}
remediate: {ceiling: 100000, memory_share: 0.5, buckets: keep}
metrics: {listen: ""}
`

// TestPersist installs the agent where the kernel's limit can be written, and has it raise it for good: it steps as an
// ordinary user, the limit is written down by the helper, survives a reboot, and goes when it is taken back or purged.
func TestPersist(t *testing.T) {
	deb := built(t).deb(t, "ctwarden")
	need(t, "systemd-nspawn")
	lock, ns := testkernel.First(t)
	if err := lock.SetMax(limit); err != nil {
		t.Fatal(err)
	}
	m := boot(t, newRoot(t, "bookworm"), ns)
	m.installDeb(t, deb)
	m.grant(t, "remediate.conf")
	m.write(t, configFile, hostConfig)
	// The limit is less than the kernel's default for this host: without root's own word the helper would not let it last.
	m.write(t, "/etc/sysctl.d/10-own.conf", fmt.Sprintf("net.netfilter.nf_conntrack_max = %d\n", limit))
	m.run(t, "systemctl", "restart", agentUnit)
	m.wantProcess(t, m.mainPID(t, agentUnit), capSyslog|capNetAdmin)
	if notes := strings.Join(m.status(t).Notes, "\n"); !strings.Contains(notes, "systemctl reload ctwarden") { // /sys is read-only here
		t.Errorf("the status does not tell that the kernel keeps the number of entries to itself: %q", notes)
	}
	var raised uint64

	inOrder(t, []part{
		{"step", func(t *testing.T) { raised = m.stepped(t, ns) }},
		{"reboot", func(t *testing.T) { m.rebooted(t, lock, raised) }},
		{"revert", func(t *testing.T) { m.reverted(t, lock, raised) }},
		{"state elsewhere", m.elsewhere},
		{"remove and purge", m.persistedThenPurged},
	})
}

// stepped fills the table, and returns the limit that the agent raises it to.
func (m *machine) stepped(t *testing.T, ns *testkernel.Namespace) uint64 {
	if _, err := ns.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: limit + 5000}); err != nil {
		t.Fatal(err)
	}
	var confirmed remediate.Step
	testhost.Eventually(t, "a step that is confirmed", func() bool {
		for _, ev := range m.journalled(t, remediate.EventStepConfirmed) {
			confirmed = ev.Data.(remediate.Step)
		}
		return confirmed.To != 0
	})
	if confirmed.Persisted != persistFile || confirmed.To <= limit {
		t.Errorf("confirmed %+v", confirmed)
	}
	m.wantPersisted(t, confirmed.To)
	m.wantLimit(t, confirmed.To)
	// Whoever takes the agent over must not get to set other sysctls as root.
	uid := []string{"setpriv", "--reuid=ctwarden", "--regid=ctwarden", "--init-groups"}
	if out, code := m.try(t, append(uid, "sh", "-c", "echo kernel.core_pattern=x >>"+persistFile)...); code == 0 {
		t.Errorf("the agent's user may write to %s: %s", persistFile, out)
	}
	if err := ns.Flush(); err != nil {
		t.Fatal(err)
	}
	return confirmed.To
}

// wantPersisted looks at the files that make a limit last.
func (m *machine) wantPersisted(t *testing.T, limit uint64) {
	t.Helper()
	testhost.Eventually(t, persistFile, func() bool {
		_, code := m.try(t, "test", "-s", persistFile)
		return code == 0
	})
	m.wantOwners(t, persistFile+" 644 root:root", modulesFile+" 644 root:root")
	text := m.run(t, "cat", persistFile)
	for _, key := range []string{"net.netfilter.nf_conntrack_max", "net.nf_conntrack_max"} {
		if want := fmt.Sprintf("\n%s = %d\n", key, limit); !strings.Contains(text, want) {
			t.Errorf("%s has not %q:\n%s", persistFile, want, text)
		}
	}
	if text := m.run(t, "cat", modulesFile); !strings.Contains("\n"+text, "\nnf_conntrack\n") {
		t.Errorf("%s does not load the module:\n%s", modulesFile, text)
	}
}

// wantNoFiles wants no trace of a persisted limit.
func (m *machine) wantNoFiles(t *testing.T) {
	t.Helper()
	for _, name := range []string{persistFile, modulesFile} {
		if _, err := os.Lstat(m.path(name)); !os.IsNotExist(err) {
			t.Errorf("%s is still there (%v)", name, err)
		}
	}
}

func (m *machine) wantLimit(t *testing.T, want uint64) {
	t.Helper()
	now := uint64(0)
	testhost.Eventually(t, fmt.Sprintf("a limit of %d", want), func() bool {
		limits, err := testkernel.ReadLimits()
		if now = limits.Max; err != nil {
			t.Fatal(err)
		}
		return now == want
	})
}

// rebooted boots the machine again with the kernel's limit as after a boot. The agent applies the persisted one, once.
func (m *machine) rebooted(t *testing.T, lock *testkernel.Lock, raised uint64) {
	m.reboot(t, func() {
		if err := lock.SetMax(limit); err != nil {
			t.Fatal(err)
		}
	})
	m.mainPID(t, agentUnit)
	m.wantLimit(t, raised)
	if got := m.bootSteps(t); got != 1 {
		t.Errorf("%d steps at boot, want 1", got)
	}
	// What an administrator sets afterwards stands over a restart of the agent.
	const byHand = limit + 1000
	if err := lock.SetMax(byHand); err != nil {
		t.Fatal(err)
	}
	m.run(t, "systemctl", "restart", agentUnit)
	m.mainPID(t, agentUnit) // ready: the boot application comes before
	m.wantLimit(t, byHand)
	if got := m.bootSteps(t); got != 1 {
		t.Errorf("%d steps at boot after a restart, want 1", got)
	}
}

func (m *machine) bootSteps(t *testing.T) (n int) {
	t.Helper()
	for _, ev := range m.journalled(t, remediate.EventStepApplied) {
		if ev.Data.(remediate.Step).Reason == remediate.ReasonBoot {
			n++
		}
	}
	return n
}

// reverted has the agent take back what it wrote.
func (m *machine) reverted(t *testing.T, lock *testkernel.Lock, raised uint64) {
	if err := lock.SetMax(raised); err != nil {
		t.Fatal(err)
	}
	out := m.run(t, "ctwarden", "revert", "--all")
	m.wantLimit(t, limit)
	testhost.Eventually(t, "the persisted limit is gone", func() bool {
		_, err := os.Lstat(m.path(persistFile))
		return os.IsNotExist(err)
	})
	m.wantNoFiles(t)
	t.Logf("revert: %s", strings.TrimSpace(out))
}

// persistedThenPurged raises by hand; that limit stays when the package is removed, which is said, and goes with the purge.
func (m *machine) persistedThenPurged(t *testing.T) {
	const byHand = 2 * limit
	m.run(t, "ctwarden", "raise", "--to", fmt.Sprint(byHand))
	m.wantPersisted(t, byHand)
	said := m.run(t, "dpkg", "--remove", "ctwarden")
	if !strings.Contains(said, persistFile) || !strings.Contains(said, "stays") {
		t.Errorf("the removal does not say that %s stays:\n%s", persistFile, said)
	}
	m.wantPersisted(t, byHand)
	said = m.run(t, "dpkg", "--purge", "ctwarden")
	m.wantNoFiles(t)
	for _, name := range []string{"/etc/ctwarden", "/var/lib/ctwarden", "/etc/systemd/system/ctwarden.service.d"} {
		if _, err := os.Lstat(m.path(name)); err == nil {
			t.Errorf("%s is left; dpkg said %s", name, said)
		}
	}
	m.wantLimit(t, byHand) // the kernel's value is the host's now
}
