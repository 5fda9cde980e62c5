package installed

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

const (
	agentUnit = "ctwarden.service"
	hubUnit   = "ctwarden-hub.service"

	configFile = "/etc/ctwarden/ctwarden.yaml"
	hubFile    = "/etc/ctwarden/hub.yaml"
	// persistFile and modulesFile are what makes a limit last.
	persistFile = "/etc/sysctl.d/99-zz-ctwarden.conf"
	modulesFile = "/etc/modules-load.d/ctwarden.conf"

	// limit is the kernel's, in entries, while a test fills a namespace.
	limit = 20000
)

// operatorsConfig is what an operator makes of the agent's file: it tells NATS, and keeps incidents open for so long
// that they last over what the test does to the service.
const operatorsConfig = `# by the operator
mode: %s
incident: {close_after: 5m, update_every: 1s}
nats: {servers: ["` + natsURL + `"]}
`

const operatorsHubConfig = `# by the operator
embedded: {enabled: true}
`

// filled takes the kernel's limit for the test and lowers it, and makes a namespace for a machine to be in.
func filled(t *testing.T) (*testkernel.Lock, *testkernel.Namespace) {
	t.Helper()
	lock := testkernel.Hold(t)
	ns := testkernel.Scratch(t)
	if err := lock.SetMax(limit); err != nil {
		t.Fatal(err)
	}
	// The machine's own connections, such as the agent's to NATS, are not to be refused with the others.
	const own = `table inet own {
	chain in { type filter hook prerouting priority -400; iifname "lo" notrack; }
	chain out { type filter hook output priority -400; oifname "lo" notrack; }
}`
	nft := exec.Command("ip", "netns", "exec", ns.Name, "nft", "-f", "-")
	nft.Stdin = strings.NewReader(own)
	output(t, nft)
	return lock, ns
}

// refuse has the kernel refuse connections of a namespace, at least one: it fills it as far as the limit goes with
// entries that are not thrown out to make room, and then sends more.
func refuse(t *testing.T, ns *testkernel.Namespace) {
	t.Helper()
	count, err := ns.Count()
	if err != nil {
		t.Fatal(err)
	}
	flows := 100 + max(limit-int(count), 0)
	testhost.WaitForRatelimit(t)
	result, err := ns.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: flows})
	if err != nil || result.Refused == 0 {
		t.Fatalf("nothing was refused: %+v, %v", result, err)
	}
}

// part is a part of a test that begins where the one before has ended.
type part struct {
	name string
	run  func(t *testing.T)
}

// inOrder runs parts until one fails: those after it would fail for its sake.
func inOrder(t *testing.T, parts []part) {
	t.Helper()
	for _, p := range parts {
		if !t.Run(p.name, p.run) {
			t.FailNow()
		}
	}
}

// installDeb installs a package of dpkg's and returns what that said. Of a configuration that was edited, and whose default
// is another now, it keeps what is there, as an unattended upgrade does.
func (m *machine) installDeb(t *testing.T, debs ...string) string {
	t.Helper()
	args := []string{"dpkg", "--install", "--force-confdef", "--force-confold"}
	for _, deb := range debs {
		args = append(args, m.bring(t, deb))
	}
	return m.run(t, args...)
}

// property is what systemd knows of a unit.
func (m *machine) property(t *testing.T, unit, name string) string {
	t.Helper()
	return strings.TrimSpace(m.run(t, "systemctl", "show", "--property="+name, "--value", unit))
}

// wantProperties compares what systemd knows of a unit, given as name=value.
func (m *machine) wantProperties(t *testing.T, unit string, want ...string) {
	t.Helper()
	for _, w := range want {
		name, value, _ := strings.Cut(w, "=")
		if got := m.property(t, unit, name); got != value {
			t.Errorf("%s: %s is %q, want %q", unit, name, got, value)
		}
	}
}

// mainPID waits until a service is up and returns its process, as the machine numbers it.
func (m *machine) mainPID(t *testing.T, unit string) int {
	t.Helper()
	pid := 0
	testhost.Eventually(t, unit+" is active", func() bool {
		fields := strings.Fields(m.run(t, "systemctl", "show", "--property=ActiveState,MainPID", "--value", unit))
		if len(fields) != 2 {
			return false
		}
		for _, f := range fields { // systemd has an order of its own
			if n, err := strconv.Atoi(f); err == nil {
				pid = n
			}
		}
		return pid != 0 && (fields[0] == "active" || fields[1] == "active")
	})
	return pid
}

// another waits until a service runs in another process than before.
func (m *machine) another(t *testing.T, unit string, before int) int {
	t.Helper()
	pid := 0
	testhost.Eventually(t, unit+" has been started again", func() bool {
		pid, _ = strconv.Atoi(m.property(t, unit, "MainPID"))
		return pid != 0 && pid != before
	})
	return m.mainPID(t, unit)
}

// configure writes the agent's file as an operator does.
func (m *machine) configure(t *testing.T, mode remediate.Mode) {
	t.Helper()
	m.write(t, configFile, fmt.Sprintf(operatorsConfig, mode))
}

// withHub has the hub run its NATS server, and the agent tell it.
func (m *machine) withHub(t *testing.T, mode remediate.Mode) {
	t.Helper()
	m.write(t, hubFile, operatorsHubConfig)
	m.configure(t, mode)
	m.run(t, "systemctl", "restart", hubUnit)
	m.run(t, "systemctl", "restart", agentUnit)
	testhost.Eventually(t, "the agent is connected to NATS", func() bool { return m.status(t).NATS.Connected })
}

// grant links an optional drop-in, as the installation says.
func (m *machine) grant(t *testing.T, name string) {
	t.Helper()
	const dir = "/etc/systemd/system/ctwarden.service.d"
	m.run(t, "mkdir", "-p", dir)
	m.run(t, "ln", "-s", "/usr/share/ctwarden/ctwarden.service.d/"+name, dir+"/")
	m.run(t, "systemctl", "daemon-reload")
}

// status asks the installed program.
func (m *machine) status(t *testing.T) (s agent.Status) {
	t.Helper()
	return askStatus(t, m.try)
}

// askStatus asks the program through try, which runs a command in a root.
func askStatus(t *testing.T, try func(*testing.T, ...string) (string, int)) (s agent.Status) {
	t.Helper()
	testhost.Eventually(t, "the agent answers", func() bool {
		out, code := try(t, "sh", "-c", "ctwarden status -o json 2>/dev/null") // which warns of a configuration with mistakes
		return code == 0 && json.Unmarshal([]byte(out), &s) == nil && s.Running
	})
	return s
}

// incident waits until the agent has an incident of a namespace that is as wanted.
func (m *machine) incident(t *testing.T, inode uint64, wanted func(remediate.Incident) bool) remediate.Incident {
	t.Helper()
	var last, found remediate.Incident
	defer func() {
		if t.Failed() {
			t.Logf("the last incident of namespace %d: %+v", inode, last)
		}
	}()
	testhost.Eventually(t, "an incident as wanted", func() bool {
		for _, i := range m.status(t).Incidents {
			if i.NetNS.Inode == inode && !i.Historical {
				if last = i; wanted(i) {
					found = i
					return true
				}
			}
		}
		return false
	})
	return found
}

// threeStreams are those that a record of the kernel's takes on Debian, as events call them.
var threeStreams = []string{"kmsg", "journal", "syslog:/var/log/kern.log"}

// countedAll tells whether each stream has brought n records, or, where n is 0, one at least.
func countedAll(i remediate.Incident, n int) bool {
	for _, stream := range threeStreams {
		if got := i.PerSource[stream]; got == 0 || n != 0 && got != n {
			return false
		}
	}
	return true
}
