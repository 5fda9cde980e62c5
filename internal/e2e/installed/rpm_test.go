package installed

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/remediate"
)

// rpm runs rpm in the machine. The database of a Debian has none of the packages that ours need, so rpm is not to ask for
// them; they are there.
func rpm(args ...string) []string {
	return append([]string{"rpm", "--force-debian", "--nodeps"}, args...)
}

// TestRPM installs an older version by rpm, upgrades it, goes back and removes it, under a systemd that runs.
func TestRPM(t *testing.T) {
	newer, old := built(t), older(t)
	need(t, "systemd-nspawn")
	lock, ns := filled(t)
	if err := lock.SetMax(lock.Saved().Max); err != nil { // nothing is to be refused here
		t.Fatal(err)
	}
	m := boot(t, newRoot(t, "bookworm"), ns)
	before := m.files(t)
	said := m.run(t, rpm("--install", m.bring(t, old.rpm(t, "ctwarden")), m.bring(t, old.rpm(t, "ctwarden-hub")))...)
	if !strings.Contains(said, "mode: remediate") {
		t.Errorf("the installation does not tell of the next steps:\n%s", said)
	}
	pid := m.mainPID(t, agentUnit)
	m.wantProcess(t, pid, capSyslog)
	m.wantProperties(t, agentUnit, "UnitFileState=enabled", "NRestarts=0")
	m.wantOwners(t, configFile+" 640 root:ctwarden", hubFile+" 640 root:ctwarden-hub", "/var/lib/ctwarden 700 ctwarden:ctwarden")
	m.wantVerified(t)
	m.withHub(t, remediate.ModeObserve)

	inOrder(t, []part{
		{"upgrade", func(t *testing.T) { m.rpmUpgrade(t, newer) }},
		{"reinstall", func(t *testing.T) { m.rpmTake(t, newer, "--replacepkgs") }},
		{"downgrade", func(t *testing.T) { m.rpmTake(t, old, "--oldpackage") }},
		{"remove", func(t *testing.T) { m.rpmRemove(t, before) }},
	})
}

// wantVerified has rpm compare what is there with what it installed.
func (m *machine) wantVerified(t *testing.T) {
	t.Helper()
	for _, name := range []string{"ctwarden", "ctwarden-hub"} {
		if out, code := m.try(t, rpm("--verify", name)...); code != 0 || strings.TrimSpace(out) != "" {
			t.Errorf("rpm --verify %s: exit %d: %s", name, code, out)
		}
	}
}

// rpmUpgrade keeps what an administrator did: an edited file, a service that is stopped and disabled.
func (m *machine) rpmUpgrade(t *testing.T, newer packages) {
	m.run(t, "systemctl", "disable", "--now", hubUnit)
	m.rpmTake(t, newer)
	if out := m.run(t, "rpm", "--query", "ctwarden", "ctwarden-hub"); strings.Count(out, "\n") != 2 {
		t.Errorf("installed: %s", out)
	}
}

// rpmTake installs another version, or with an option one that is not newer. The service is that version's then, and all else
// as it was.
func (m *machine) rpmTake(t *testing.T, p packages, option ...string) {
	config, pid := readFile(t, m.path(configFile)), m.mainPID(t, agentUnit)
	args := append([]string{"--upgrade"}, option...)
	m.run(t, rpm(append(args, m.bring(t, p.rpm(t, "ctwarden")), m.bring(t, p.rpm(t, "ctwarden-hub")))...)...)
	m.another(t, agentUnit, pid)
	m.wantVersion(t, p.deb(t, "ctwarden"))
	if got := readFile(t, m.path(configFile)); got != config {
		t.Errorf("the edited configuration became\n%s", got)
	}
	m.wantProperties(t, agentUnit, "UnitFileState=enabled", "ActiveState=active")
	m.wantProperties(t, hubUnit, "UnitFileState=disabled", "ActiveState=inactive")
}

// rpmRemove wants the edited files and the state to stay, and nothing else.
func (m *machine) rpmRemove(t *testing.T, before []string) {
	said := m.run(t, rpm("--erase", "ctwarden", "ctwarden-hub")...)
	if state := m.property(t, agentUnit, "ActiveState"); state != "inactive" {
		t.Errorf("the service is %s; rpm said %s", state, said)
	}
	for _, name := range []string{configFile + ".rpmsave", hubFile + ".rpmsave", "/var/lib/ctwarden/state.db"} {
		m.run(t, "test", "-s", name)
	}
	stays := []string{"/etc/ctwarden", "/var/lib/ctwarden", "/run/ctwarden", "/var/lib/rpm", "/etc/systemd/system/"}
	// Of the packages filesystem, fish and zsh, which a host with rpm has and this Debian has not.
	stays = append(stays, "/usr/share/fish", "/usr/share/zsh", "/usr/share/licenses")
	for _, name := range left(before, m.files(t)) {
		if !hasPrefix(name, stays) {
			t.Errorf("%s is left; rpm said %s", name, said)
		}
	}
	if out := m.run(t, "sh", "-c", "find /etc/systemd -name '*ctwarden*'"); out != "" {
		t.Errorf("left: %s", out)
	}
}

// TestRPMWithoutSystemd installs by rpm in a root that nothing runs in, as when an image is built.
func TestRPMWithoutSystemd(t *testing.T) {
	newer := built(t)
	r := newRoot(t, "bookworm")
	for _, name := range []string{"ctwarden", "ctwarden-hub"} {
		r.run(t, rpm("--install", r.bring(t, newer.rpm(t, name)))...)
	}
	if got := strings.Fields(r.run(t, "stat", "--format=%a %U:%G", configFile)); fmt.Sprint(got) != "[640 root:ctwarden]" {
		t.Errorf("%s is %v", configFile, got)
	}
	r.run(t, "ctwarden", "check-config")
	if out, code := r.try(t, "systemctl", "is-enabled", agentUnit); code != 0 {
		t.Errorf("%s is not enabled for the boot to come: %s", agentUnit, out)
	}
	r.run(t, rpm("--erase", "ctwarden", "ctwarden-hub")...)
}
