package installed

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestService installs both packages on a Debian and does to the service what happens to a service. The network
// namespace is not the kernel's first, as in a container, so the limit cannot be written there.
func TestService(t *testing.T) {
	deb, hubDeb := built(t).deb(t, "ctwarden"), built(t).deb(t, "ctwarden-hub")
	need(t, "systemd-nspawn")
	_, ns := filled(t)
	m := boot(t, newRoot(t, "bookworm"), ns)
	m.installation(t, deb)
	m.installDeb(t, hubDeb)
	m.withHub(t, remediate.ModeObserve)
	events := m.follow(t)

	inOrder(t, []part{
		{"refusal", func(t *testing.T) { m.refusal(t, ns, events) }},
		{"unseen namespace", func(t *testing.T) { m.unseen(t, events) }},
		{"read-only limit", func(t *testing.T) { m.readOnly(t, ns, events) }},
		{"SIGKILL", func(t *testing.T) { m.killed(t, ns) }},
		{"SIGSTOP", m.stopped},
		{"reload", m.reload},
		{"stop", m.stop},
		{"every namespace", m.seesAll},
	})
	testhost.Eventually(t, "the last event to arrive", func() bool {
		return len(events.of(remediate.EventAgentStopped, every)) >= 2 && m.status(t).Outbox.Events == 0
	})
	t.Logf("%d events in NATS, none of them twice", events.once(t))
}

// installation installs the agent and looks at what is there then.
func (m *machine) installation(t *testing.T, deb string) {
	t.Helper()
	said := m.installDeb(t, deb)
	pid := m.mainPID(t, agentUnit)
	for _, word := range []string{"mode: remediate", "remediate.conf", "nats"} {
		if !strings.Contains(said, word) {
			t.Errorf("the installation does not tell of %q:\n%s", word, said)
		}
	}
	m.wantProperties(t, agentUnit, "Type=notify", "ActiveState=active", "SubState=running", "UnitFileState=enabled", "User=ctwarden",
		"NRestarts=0")
	testhost.Eventually(t, "the agent tells systemd its state", func() bool {
		return strings.HasPrefix(m.property(t, agentUnit, "StatusText"), "observe, ")
	})
	m.wantProcess(t, pid, capSyslog)
	st := m.status(t)
	if st.Mode != remediate.ModeObserve || st.Version != field(t, deb, "Version") || len(st.Sources) == 0 {
		t.Errorf("status %+v", st)
	}
	if out := m.run(t, "ctwarden", "status"); !strings.Contains(out, "mode observe") {
		t.Errorf("ctwarden status says\n%s", out)
	}
	started := m.journalled(t, remediate.EventAgentStarted)
	if len(started) != 1 || started[0].Data.(remediate.AgentState).Mode != remediate.ModeObserve {
		t.Errorf("agent.started in the journal: %+v", started)
	}
	m.wantNative(t)
	m.wantOwners(t, configFile+" 640 root:ctwarden", "/var/lib/ctwarden 700 ctwarden:ctwarden", "/run/ctwarden 700 ctwarden:ctwarden")
	for _, name := range []string{persistFile, modulesFile} {
		if _, err := os.Lstat(m.path(name)); err == nil {
			t.Errorf("%s is there, though nothing was ever raised", name)
		}
	}
}

// The numbers of capabilities.
const (
	capNetAdmin  = 1 << 12
	capSysPtrace = 1 << 19
	capSysAdmin  = 1 << 21
	capSyslog    = 1 << 34
)

// wantProcess looks at what the kernel says of the agent: whose it is, and that it has these capabilities and no other
// and can get none.
func (m *machine) wantProcess(t *testing.T, pid int, caps uint64) {
	t.Helper()
	status := m.run(t, "cat", fmt.Sprintf("/proc/%d/status", pid))
	uid := strings.TrimSpace(m.run(t, "id", "-u", "ctwarden"))
	if got := strings.Fields(statusLine(status, "Uid")); !slices.Equal(got, []string{uid, uid, uid, uid}) || uid == "0" {
		t.Errorf("the agent runs as %v, want ctwarden, %s", got, uid)
	}
	for _, set := range []string{"CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd"} {
		got, err := strconv.ParseUint(statusLine(status, set), 16, 64)
		if err != nil || got != caps {
			t.Errorf("%s is %x (%v), want %x", set, got, err, caps)
		}
	}
	if statusLine(status, "NoNewPrivs") != "1" {
		t.Error("the agent may get new privileges")
	}
	for _, group := range []string{"systemd-journal", "adm"} {
		gid := strings.Split(m.run(t, "getent", "group", group), ":")[2]
		if !slices.Contains(strings.Fields(statusLine(status, "Groups")), gid) {
			t.Errorf("the agent is not in the group %s", group)
		}
	}
}

// wantNative looks for the fields of a line in the journal that did not come by way of stderr.
func (m *machine) wantNative(t *testing.T) {
	t.Helper()
	out := m.run(t, "journalctl", "--no-pager", "-q", "-o", "json", "-u", agentUnit, "MESSAGE=agent ready")
	var record map[string]any
	if err := json.Unmarshal([]byte(out), &record); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, want := range map[string]any{"_TRANSPORT": "journal", "CTWARDEN_MODE": "observe", "PRIORITY": "6"} {
		if record[name] != want {
			t.Errorf("%s is %v, want %v in %s", name, record[name], want, out)
		}
	}
}

// wantOwners compares files, each as "name mode user:group".
func (m *machine) wantOwners(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		got := strings.TrimSpace(m.run(t, "stat", "--format=%n %a %U:%G", strings.Fields(w)[0]))
		if got != w {
			t.Errorf("%s, want %s", got, w)
		}
	}
}

// refusal has the kernel refuse in the machine's own namespace, of which it tells all on the host; kmsg, journald and
// rsyslog each bring it to the agent, and NATS has the incident.
func (m *machine) refusal(t *testing.T, ns *testkernel.Namespace, events *follower) {
	refuse(t, ns)
	opened := events.first(t, remediate.EventIncidentOpened, inNamespace(ns.Inode)).Data.(remediate.Incident)
	i := m.incident(t, ns.Inode, func(i remediate.Incident) bool {
		return countedAll(i, m.kernelLines(t, ns.Inode)) && i.Severity == remediate.SeverityCritical && i.Drops > 0
	})
	if i.ID != opened.ID || !i.Verified {
		t.Errorf("the incident %+v, want %s, verified", i, opened.ID)
	}
	refused := events.first(t, remediate.EventStepRefused, inNamespace(ns.Inode)).Data.(remediate.Step)
	if refused.Reason != remediate.ReasonObserveMode || refused.IncidentID != i.ID || refused.From != limit {
		t.Errorf("refused %+v", refused)
	}
	t.Logf("%d records of the kernel, %d refusals by its counters: %v", m.kernelLines(t, ns.Inode), i.Drops, i.PerSource)
}

// unseen has the kernel refuse in a namespace of the host's that the machine cannot see. Its own log tells of it all the
// same, as of an incident that nobody can verify.
func (m *machine) unseen(t *testing.T, events *follower) {
	other := testkernel.Scratch(t)
	refuse(t, other)
	if m.kernelLines(t, other.Inode) == 0 {
		t.Skip("this kernel does not name the namespace (Linux 6.17 and later do)")
	}
	opened := events.first(t, remediate.EventIncidentOpened, inNamespace(other.Inode)).Data.(remediate.Incident)
	if opened.Verified {
		t.Errorf("verified, although the counters cannot be seen: %+v", opened)
	}
}

// readOnly allows the agent to raise the limit where the kernel does not.
func (m *machine) readOnly(t *testing.T, ns *testkernel.Namespace, events *follower) {
	before := m.cursor(t)
	m.grant(t, "remediate.conf")
	m.configure(t, remediate.ModeRemediate)
	m.run(t, "systemctl", "restart", agentUnit)
	pid := m.mainPID(t, agentUnit)
	m.wantProcess(t, pid, capSyslog|capNetAdmin)
	refuse(t, ns)
	refused := events.first(t, remediate.EventStepRefused, func(ev remediate.Event) bool {
		d := ev.Data.(remediate.Step)
		return d.NetNS.Inode == ns.Inode && d.Reason == remediate.ReasonReadOnly
	}).Data.(remediate.Step)
	if refused.Mode != remediate.ModeRemediate || refused.From != limit {
		t.Errorf("refused %+v", refused)
	}
	m.said(t, before, "read_only", "set it on the host")
	st := m.status(t)
	if st.Limits.Writable || !strings.Contains(strings.Join(st.Notes, "\n"), "set it on the host") {
		t.Errorf("writable %v, notes %q", st.Limits.Writable, st.Notes)
	}
	out := m.run(t, "ctwarden", "status")
	for _, word := range []string{"read-only for this process", "set it on the host"} {
		if !strings.Contains(out, word) {
			t.Errorf("ctwarden status does not say %q:\n%s", word, out)
		}
	}
	if out, code := m.try(t, "ctwarden", "raise", "--to", "30000"); code != 1 || !strings.Contains(out, "read_only") {
		t.Errorf("raise: exit %d: %s", code, out)
	}
	if now := m.mainPID(t, agentUnit); now != pid {
		t.Errorf("the agent was started again: %d, then %d", pid, now)
	}
	if now, err := testkernel.ReadLimits(); err != nil || now.Max != limit {
		t.Errorf("limits %+v (%v), want %d", now, err, limit)
	}
}

// killed kills the agent, has the kernel refuse while it is down, and wants it all to be counted.
func (m *machine) killed(t *testing.T, ns *testkernel.Namespace) {
	before := m.incident(t, ns.Inode, func(remediate.Incident) bool { return true })
	pid, restarts := m.mainPID(t, agentUnit), m.property(t, agentUnit, "NRestarts")
	begin := time.Now()
	m.run(t, "kill", "-KILL", strconv.Itoa(pid))
	refuse(t, ns)
	m.another(t, agentUnit, pid)
	t.Logf("ready again %v after SIGKILL", time.Since(begin).Round(100*time.Millisecond))
	if got := m.property(t, agentUnit, "NRestarts"); got == restarts {
		t.Errorf("%s restarts, as before", got)
	}
	after := m.incident(t, ns.Inode, func(i remediate.Incident) bool { return countedAll(i, m.kernelLines(t, ns.Inode)) })
	if after.ID != before.ID || after.Matches <= before.Matches {
		t.Errorf("incident %s with %d matches, before %s with %d", after.ID, after.Matches, before.ID, before.Matches)
	}
}

// stopped has the agent stand still, which the service manager's watchdog does not bear.
func (m *machine) stopped(t *testing.T) {
	if got := m.property(t, agentUnit, "WatchdogUSec"); got == "0" || got == "infinity" {
		t.Errorf("WatchdogUSec is %q as shipped", got)
	}
	const dropIn = "/etc/systemd/system/ctwarden.service.d/watchdog.conf"
	m.write(t, dropIn, "[Service]\nWatchdogSec=3\n")
	m.run(t, "systemctl", "daemon-reload")
	m.run(t, "systemctl", "restart", agentUnit)
	pid, before := m.mainPID(t, agentUnit), m.cursor(t)
	m.run(t, "kill", "-STOP", strconv.Itoa(pid))
	m.another(t, agentUnit, pid)
	m.said(t, before, agentUnit, "Watchdog timeout")
	m.said(t, before, agentUnit, "'watchdog'")
	if err := os.Remove(m.path(dropIn)); err != nil {
		t.Fatal(err)
	}
	m.run(t, "systemctl", "daemon-reload")
}

// reload takes over a changed file, and leaves what runs in force where the file has mistakes.
func (m *machine) reload(t *testing.T) {
	pid := m.mainPID(t, agentUnit)
	m.configure(t, remediate.ModeObserve)
	m.run(t, "systemctl", "reload", agentUnit)
	testhost.Eventually(t, "the changed mode", func() bool { return m.status(t).Mode == remediate.ModeObserve })
	for text, words := range map[string][]string{
		"site: [\n":        {configFile},
		"mode: rescue\n":   {configFile + ":1", "mode", "rescue", "observe"},
		"mod: remediate\n": {configFile + ":1", "mod"},
	} {
		before := m.cursor(t)
		m.write(t, configFile, text)
		if out, code := m.try(t, "systemctl", "reload", agentUnit); code == 0 {
			t.Errorf("a file with a mistake was reloaded: %q: %s", text, out)
		}
		m.said(t, before, words...)
	}
	if st := m.status(t); st.Mode != remediate.ModeObserve || m.mainPID(t, agentUnit) != pid {
		t.Errorf("mode %s in process %d, before observe in %d", st.Mode, m.mainPID(t, agentUnit), pid)
	}
	m.wantProperties(t, agentUnit, "ActiveState=active")
	m.configure(t, remediate.ModeObserve)
}

// stop stops and starts the service.
func (m *machine) stop(t *testing.T) {
	m.mainPID(t, agentUnit)
	begin := time.Now()
	m.run(t, "systemctl", "stop", agentUnit)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the stop took %v", took)
	} else {
		t.Logf("stopped in %v", took.Round(10*time.Millisecond))
	}
	m.wantProperties(t, agentUnit, "ActiveState=inactive", "Result=success")
	m.run(t, "systemctl", "start", agentUnit)
	m.mainPID(t, agentUnit)
}
