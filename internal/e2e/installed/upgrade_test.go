package installed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// ownDropIn and ownFile are an administrator's, whom no package asks.
	ownDropIn = "/etc/systemd/system/ctwarden.service.d/own.conf"
	ownFile   = "/etc/ctwarden/own.yaml"
)

// TestUpgrade installs an older version, and while connections are being refused brings it up, down, away and back, and
// at last purges all.
func TestUpgrade(t *testing.T) {
	newer, old := built(t), older(t)
	deb, oldDeb := newer.deb(t, "ctwarden"), old.deb(t, "ctwarden")
	need(t, "systemd-nspawn", "dpkg")
	wantOlder(t, oldDeb, deb)
	_, ns := filled(t)
	m := boot(t, newRoot(t, "bookworm"), ns)
	before := m.files(t)
	m.installDeb(t, oldDeb, old.deb(t, "ctwarden-hub"))
	m.withHub(t, remediate.ModeRemediate)
	m.grant(t, "remediate.conf")
	m.write(t, ownDropIn, "[Service]\nEnvironment=OWN=1\n")
	m.write(t, ownFile, "# an administrator's\n")
	m.run(t, "systemctl", "disable", hubUnit)
	m.run(t, "systemctl", "daemon-reload")
	m.run(t, "systemctl", "restart", agentUnit)
	m.wantVersion(t, oldDeb)
	events := m.follow(t)
	refuse(t, ns)
	u := upgrade{machine: m, ns: ns, events: events}
	u.incident = m.incident(t, ns.Inode, func(i remediate.Incident) bool { return countedAll(i, 0) && i.Verified }).ID

	inOrder(t, []part{
		{"upgrade", func(t *testing.T) { u.replace(t, deb, newer.deb(t, "ctwarden-hub")) }},
		{"downgrade", func(t *testing.T) { u.replace(t, oldDeb) }},
		{"reinstall", func(t *testing.T) { u.replace(t, oldDeb) }},
		{"a stopped service", func(t *testing.T) { u.keptStopped(t, deb) }},
		{"a service that fails", func(t *testing.T) { u.failing(t, deb) }},
		{"remove", u.remove},
		{"install again", func(t *testing.T) { u.replace(t, deb) }},
		{"changed default", func(t *testing.T) { u.changedDefault(t, deb) }},
		{"no event twice", func(t *testing.T) { t.Logf("%d events", events.once(t)) }},
		{"purge", func(t *testing.T) { m.purge(t, before) }},
	})
}

// wantOlder holds the versions against dpkg's order.
func wantOlder(t *testing.T, old, new string) {
	t.Helper()
	x, y := field(t, old, "Version"), field(t, new, "Version")
	if err := exec.Command("dpkg", "--compare-versions", x, "lt", y).Run(); err != nil {
		t.Fatalf("%s is not older than %s", x, y)
	}
}

// wantVersion wants the agent that runs to be of a package.
func (m *machine) wantVersion(t *testing.T, deb string) {
	t.Helper()
	if got, want := m.status(t).Version, field(t, deb, "Version"); got != want {
		t.Errorf("version %s runs, want %s", got, want)
	}
}

// upgrade is a machine with an incident that lasts.
type upgrade struct {
	*machine
	ns       *testkernel.Namespace
	events   *follower
	incident string
}

// replace installs packages while the kernel refuses connections all the time, and wants nothing of that to be lost and
// nothing that an administrator did to be undone.
func (u *upgrade) replace(t *testing.T, debs ...string) {
	config, enabled := readFile(t, u.path(configFile)), u.property(t, hubUnit, "UnitFileState")
	pid, _ := u.try(t, "systemctl", "show", "--property=MainPID", "--value", agentUnit)
	stop := u.keepRefusing(t)
	begin := time.Now()
	u.installDeb(t, debs...)
	took := time.Since(begin)
	now := u.mainPID(t, agentUnit)
	stop()
	if strings.TrimSpace(pid) == fmt.Sprint(now) {
		t.Error("the agent was not started again")
	}
	u.wantVersion(t, debs[0])
	u.wantIncident(t)
	if got := readFile(t, u.path(configFile)); got != config {
		t.Errorf("the edited configuration became\n%s", got)
	}
	u.wantOwners(t, configFile+" 640 root:ctwarden")
	u.wantProperties(t, agentUnit, "UnitFileState=enabled", "ActiveState=active", "Result=success")
	u.wantProperties(t, hubUnit, "UnitFileState="+enabled, "ActiveState=active")
	t.Logf("installed in %v, away for %v", took.Round(100*time.Millisecond), u.gap(t).Round(time.Millisecond))
}

// keepRefusing has the kernel refuse connections until the function that it returns is called.
func (u *upgrade) keepRefusing(t *testing.T) (stop func()) {
	t.Helper()
	testhost.WaitForRatelimit(t)
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	var err error
	var result testkernel.Result
	work.Go(func() {
		const aSecond = 4 // of the ten lines that the kernel prints in five seconds some fall in the time of the restart
		result, err = u.ns.Send(ctx, testkernel.Traffic{Kind: testkernel.Established, Flows: 100 * aSecond, Rate: aSecond})
	})
	return func() {
		t.Helper()
		cancel()
		work.Wait()
		if err != nil || result.Refused == 0 {
			t.Errorf("nothing was refused meanwhile: %+v, %v", result, err)
		}
	}
}

// wantIncident wants the one incident to go on, with each record of the kernel's counted once in every stream.
func (u *upgrade) wantIncident(t *testing.T) {
	t.Helper()
	i := u.machine.incident(t, u.ns.Inode, func(i remediate.Incident) bool { return countedAll(i, u.kernelLines(t, u.ns.Inode)) })
	if i.ID != u.incident {
		t.Errorf("incident %s, before %s", i.ID, u.incident)
	}
	if opened := u.events.of(remediate.EventIncidentOpened, inNamespace(u.ns.Inode)); len(opened) != 1 {
		t.Errorf("%d incidents were opened: %+v", len(opened), opened)
	}
	t.Logf("%d records of the kernel, counted %v", u.kernelLines(t, u.ns.Inode), i.PerSource)
}

// gap is for how long no agent ran at last: from the end of one to the ready of the next.
func (u *upgrade) gap(t *testing.T) time.Duration {
	t.Helper()
	var stopped, started time.Time
	testhost.Eventually(t, "the start to be told", func() bool {
		for _, ev := range u.journalled(t, remediate.EventAgentStopped) {
			stopped = ev.Time
		}
		for _, ev := range u.journalled(t, remediate.EventAgentStarted) {
			started = ev.Time
		}
		return started.After(stopped)
	})
	return started.Sub(stopped)
}

// changedDefault upgrades to a package whose shipped configuration differs from the one before: the administrator's file
// stays, and the new one lies beside it.
func (u *upgrade) changedDefault(t *testing.T, deb string) {
	config := readFile(t, u.path(configFile))
	next := repack(t, deb, "/etc/ctwarden/ctwarden.yaml", "\n# new in this version\n")
	u.installDeb(t, next)
	u.mainPID(t, agentUnit)
	if got := readFile(t, u.path(configFile)); got != config {
		t.Errorf("the edited configuration became\n%s", got)
	}
	if got := readFile(t, u.path(configFile+".dpkg-dist")); !strings.HasSuffix(got, "# new in this version\n") {
		t.Errorf("the shipped configuration beside it ends with %q", tail(got, 100))
	}
	u.wantIncident(t)
}

// repack is a package with a later version and something added to one of its files.
func repack(t *testing.T, deb, file, more string) string {
	t.Helper()
	dir := t.TempDir()
	tree, out := dir+"/tree", dir+"/next.deb"
	output(t, exec.Command("dpkg-deb", "--raw-extract", deb, tree))
	for name, change := range map[string]func(string) string{
		tree + file: func(text string) string { return text + more },
		tree + "/DEBIAN/control": func(text string) string {
			version := field(t, deb, "Version")
			return strings.Replace(text, "Version: "+version, "Version: "+version+"+next", 1)
		},
		tree + "/DEBIAN/md5sums": func(string) string { return "" },
	} {
		if err := os.WriteFile(name, []byte(change(readFile(t, name))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	output(t, exec.Command("dpkg-deb", "--build", tree, out)) // with the owners as they were unpacked
	return out
}

// keptStopped upgrades a service that an administrator has stopped and disabled.
func (u *upgrade) keptStopped(t *testing.T, deb string) {
	u.run(t, "systemctl", "disable", "--now", agentUnit)
	u.installDeb(t, deb)
	u.wantProperties(t, agentUnit, "UnitFileState=disabled", "ActiveState=inactive")
	u.run(t, "systemctl", "enable", "--now", agentUnit)
	u.mainPID(t, agentUnit)
	u.wantIncident(t)
}

// failing upgrades a service that does not start, for its configuration: that is said, and no failure of the package's. Once
// it is mended, the next installation starts the service, although it did not run before.
func (u *upgrade) failing(t *testing.T, deb string) {
	config := readFile(t, u.path(configFile))
	u.write(t, configFile, "mode: rescue\n")
	if out, code := u.try(t, "systemctl", "restart", agentUnit); code == 0 {
		t.Errorf("it starts with a mistake: %s", out)
	}
	if said := u.installDeb(t, deb); !hasAll(said, []string{"the configuration has mistakes", configFile + ":1", "rescue"}) {
		t.Errorf("the installation does not tell of the mistake:\n%s", said)
	}
	if state := u.property(t, agentUnit, "ActiveState"); state == "active" || state == "inactive" {
		t.Errorf("the service is %s", state)
	}
	u.write(t, configFile, config)
	u.installDeb(t, deb)
	u.mainPID(t, agentUnit)
	u.wantIncident(t)
}

// remove takes the agent's package away, with which no state goes.
func (u *upgrade) remove(t *testing.T) {
	begin := time.Now()
	u.run(t, "dpkg", "--remove", "ctwarden")
	t.Logf("removed in %v", time.Since(begin).Round(10*time.Millisecond))
	if state := u.property(t, agentUnit, "ActiveState"); state != "inactive" {
		t.Errorf("the service is %s", state)
	}
	for _, name := range []string{configFile, "/var/lib/ctwarden/state.db", ownDropIn, ownFile} {
		u.run(t, "test", "-s", name)
	}
	if _, code := u.try(t, "test", "-e", "/usr/bin/ctwarden"); code == 0 {
		t.Error("the program is still there")
	}
}

// purge removes both packages with all that they made, and compares what is there with what was before.
func (m *machine) purge(t *testing.T, before []string) {
	said := m.run(t, "dpkg", "--purge", "ctwarden", "ctwarden-hub")
	m.run(t, "rm", "-rf", "/root")
	after := m.files(t)
	found := left(before, after)
	want := []string{"/etc/ctwarden", ownFile, "/etc/systemd/system/ctwarden.service.d", ownDropIn}
	slices.Sort(want)
	if !slices.Equal(found, want) {
		t.Errorf("left: %q\nwant what the administrator made: %q\ndpkg said: %s", found, want, said)
	}
	for _, name := range left(after, before) {
		if name != "/root" {
			t.Errorf("%s is gone", name)
		}
	}
	for _, database := range []string{"passwd", "group", "shadow", "gshadow"} {
		if out, _ := m.try(t, "grep", "ctwarden", "/etc/"+database); out != "" {
			t.Errorf("left in %s: %s", database, out)
		}
	}
	if out, _ := m.try(t, "systemctl", "list-unit-files", "--no-legend", "ctwarden*"); strings.TrimSpace(out) != "" {
		t.Errorf("systemd still knows %s", out)
	}
	m.run(t, "sh", "-c", "! systemctl --failed --no-legend | grep ctwarden")
}

// notOurs are files that other programs make, whatever is installed: dpkg's books, the backups of the user database,
// logs, caches, and what the services of the machine keep.
var notOurs = []string{"/var/lib/dpkg/", "/var/cache/", "/var/log/", "/var/lib/systemd/timers/", "/var/lib/systemd/timesync/",
	"/var/lib/systemd/random-seed", "/var/lib/systemd/catalog/", "/var/lib/logrotate/", "/var/tmp/", "/root/", "/etc/passwd-", "/etc/group-",
	"/etc/shadow-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-", "/etc/.pwd.lock", "/var/spool/rsyslog/"}

// files lists what is on the machine's disk and in its /run, but for what is not ours.
func (m *machine) files(t *testing.T) (names []string) {
	t.Helper()
	for line := range strings.Lines(m.run(t, "find", "/", "-xdev") + m.run(t, "find", "/run", "-xdev", "-name", "*ctwarden*")) {
		name := strings.TrimSpace(line)
		if !hasPrefix(name, notOurs) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// left are the files that were not there before.
func left(before, after []string) (found []string) {
	known := map[string]bool{}
	for _, name := range before {
		known[name] = true
	}
	for _, name := range after {
		if !known[name] {
			found = append(found, name)
		}
	}
	return found
}

func hasPrefix(name string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}
