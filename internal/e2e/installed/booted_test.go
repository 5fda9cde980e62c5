package installed

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/doctor"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestBootedReleases installs and starts the service under the systemd of the oldest and of the newest Debian that it is
// for; the other tests do so on the one between.
func TestBootedReleases(t *testing.T) {
	deb := built(t).deb(t, "ctwarden")
	need(t, "systemd-nspawn")
	lock, ns := filled(t)
	if err := lock.SetMax(lock.Saved().Max); err != nil { // nothing is to be refused here
		t.Fatal(err)
	}
	for _, suite := range []string{"bullseye", "trixie"} {
		t.Run(suite, func(t *testing.T) {
			m := boot(t, newRoot(t, suite), ns)
			before := m.files(t)
			m.installation(t, deb)
			m.grant(t, "remediate.conf")
			m.configure(t, remediate.ModeRemediate)
			m.run(t, "systemctl", "restart", agentUnit)
			pid := m.mainPID(t, agentUnit)
			m.wantProcess(t, pid, capSyslog|capNetAdmin)
			m.configure(t, remediate.ModeObserve)
			m.run(t, "systemctl", "reload", agentUnit)
			testhost.Eventually(t, "the changed mode", func() bool { return m.status(t).Mode == remediate.ModeObserve })
			if now := m.mainPID(t, agentUnit); now != pid {
				t.Errorf("process %d, before the reload %d", now, pid)
			}
			for _, s := range m.status(t).Sources {
				if !s.Unused && (!s.Up || s.Problem != "") {
					t.Errorf("%+v", s)
				}
			}
			version, _, _ := strings.Cut(m.run(t, "systemctl", "--version"), "\n")
			t.Logf("%s: ready, %s", version, m.exposure(t))
			m.countsAll(t)
			m.run(t, "dpkg", "--purge", "ctwarden")
			for _, name := range left(before, m.files(t)) {
				t.Errorf("%s is left", name)
			}
		})
	}
}

// countsAll looks at who may count the entries of all namespaces: root alone where /sys is read-only, and on a host the agent's
// user too, as long as the service runs.
func (m *machine) countsAll(t *testing.T) {
	const dir = "/sys/kernel/slab/nf_conntrack/"
	roots := func() { // this host's kernel has them, whatever happens to the machine
		for _, name := range []string{"objects", "total_objects"} {
			if err := errors.Join(os.Chmod(dir+name, 0o400), os.Chown(dir+name, 0, 0)); err != nil {
				t.Error(err)
			}
		}
	}
	roots()
	t.Cleanup(roots)
	wantOwners := func(mode string) {
		t.Helper()
		m.wantOwners(t, dir+"objects "+mode, dir+"total_objects "+mode)
	}
	m.run(t, "mount", "-o", "remount,rw", "/sys/kernel") // as on a host
	// Its mount is over one of nspawn's whose file is deleted, which a command with full privileges cannot make.
	m.run(t, "rm", "-f", bootIDFile)
	m.run(t, "systemctl", "daemon-reload")
	wantOwners("400 root:root")
	m.run(t, "systemctl", "restart", agentUnit)
	pid := m.mainPID(t, agentUnit)
	wantOwners("440 root:ctwarden")
	m.run(t, "setpriv", "--reuid=ctwarden", "--regid=ctwarden", "--init-groups", "cat", dir+"objects", dir+"total_objects")
	roots() // as of a module that is loaded late
	m.run(t, "systemctl", "reload", agentUnit)
	wantOwners("440 root:ctwarden")
	m.run(t, "systemctl", "kill", "--signal=SIGKILL", agentUnit)
	m.another(t, agentUnit, pid)
	m.mainPID(t, agentUnit)
	wantOwners("440 root:ctwarden")
	m.run(t, "rm", "/etc/systemd/system/ctwarden.service.d/remediate.conf")
	m.run(t, "systemctl", "daemon-reload")
	m.run(t, "systemctl", "restart", agentUnit)
	m.mainPID(t, agentUnit)
	wantOwners("400 root:root")
}

// exposure is what systemd thinks of the sandbox of the agent's unit, with the drop-ins that are there.
func (m *machine) exposure(t *testing.T) string {
	t.Helper()
	out := m.run(t, "systemd-analyze", "security", "--no-pager", agentUnit)
	_, figure, _ := strings.Cut(out, "Overall exposure level for ")
	return "exposure level for " + strings.TrimSpace(figure)
}

// seesAll grants the agent what seeing every network namespace takes, and wants it to see one of another user's service,
// which it did not see before, with no more rights than that.
func (m *machine) seesAll(t *testing.T) {
	m.run(t, "systemd-run", "--quiet", "--unit=foreign", "--uid=nobody", "--property=PrivateNetwork=yes", "sleep", "infinity")
	var inode uint64
	link := m.run(t, "readlink", fmt.Sprintf("/proc/%d/ns/net", m.mainPID(t, "foreign.service")))
	if _, err := fmt.Sscanf(link, "net:[%d]", &inode); err != nil {
		t.Fatalf("%v: %s", err, link)
	}
	seen := func() bool {
		for _, ns := range m.status(t).NetNS {
			if ns.Inode == inode && !ns.Blind {
				return true
			}
		}
		return false
	}
	m.run(t, "systemctl", "restart", agentUnit) // it looks at its start
	m.mainPID(t, agentUnit)
	if seen() {
		t.Error("the namespace is seen without the right to")
	}
	m.grant(t, "namespaces.conf")
	m.run(t, "systemctl", "restart", agentUnit)
	m.wantProcess(t, m.mainPID(t, agentUnit), capSyslog|capNetAdmin|capSysPtrace|capSysAdmin)
	testhost.Eventually(t, "the other user's namespace is seen", seen)
	t.Logf("with remediate.conf and namespaces.conf: %s", m.exposure(t))
}

// elsewhere has the agent keep its state where the sandbox does not let it. doctor tells of that, and its fix is done.
func (m *machine) elsewhere(t *testing.T) {
	const dir = "/srv/ctwarden"
	m.write(t, configFile, hostConfig+"state_dir: "+dir+"/state\n")
	fix := m.fixOf(t, doctor.IDReadOnlyDir)
	if fix == "" {
		t.Fatal("doctor does not tell of it")
	}
	m.run(t, "sh", "-c", fix) // which starts the service again
	m.mainPID(t, agentUnit)
	m.wantOwners(t, dir+"/state/state.db 600 ctwarden:ctwarden")
	if fix := m.fixOf(t, doctor.IDReadOnlyDir); fix != "" {
		t.Errorf("doctor still says: %s", fix)
	}
	m.write(t, configFile, hostConfig)
	m.run(t, "rm", "-r", dir, "/etc/systemd/system/ctwarden.service.d/state_dir.conf")
	m.run(t, "systemctl", "daemon-reload")
	m.run(t, "systemctl", "restart", agentUnit)
	m.mainPID(t, agentUnit)
}

// fixOf is what doctor in the machine says to do about a finding; empty: it has no such finding.
func (m *machine) fixOf(t *testing.T, id doctor.ID) string {
	t.Helper()
	out, _ := m.try(t, "ctwarden", "doctor", "-o", "json") // 1 where there are findings
	var report doctor.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, f := range report.Findings {
		if f.ID == id {
			return f.Fix
		}
	}
	return ""
}
