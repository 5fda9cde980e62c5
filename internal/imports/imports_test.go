package imports

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/ctwarden/ctwarden/"

// allowed has every package of this module and what it may import of this module. A new package is to be entered here
// with what it needs, which is the moment to ask whether it needs to be.
var allowed = map[string][]string{
	"remediate":           nil, // the pure core imports nothing of ours
	"remediate/sysctld":   {"internal/confdir"},
	"remediate/conntrack": {"remediate"},
	"remediate/apply":     {"remediate", "remediate/sysctld"},
	"watcher":             {"remediate"},
	"notify":              {"internal/secret", "remediate"},
	"notify/oncall": { // apart from notify, so that a sender of pages needs no NATS
		"internal/config", // its part of the configuration checks itself
		"internal/secret", "remediate",
	},
	"notify/fleet": {"notify/oncall", "remediate"}, // apart from the hub, so that its judgement is pure
	"notify/hub": { // joins the pure core, the senders and NATS, and gives the page what it asks for
		"notify", "notify/fleet", "notify/hub/web", "notify/oncall", "remediate",
	},
	"notify/hub/web":      {"internal/exposition", "notify/fleet", "remediate"}, // HTTP apart from NATS: it asks the hub by its own interfaces
	"internal/config":     nil,
	"internal/exposition": nil,                                       // the metrics' text, for the agent and for the hub
	"internal/release":    nil,                                       // the version, for both programs
	"internal/confdir":    nil,                                       // one reading of drop-in directories for sysctl.d, modules-load.d, modprobe.d and udev's rules
	"internal/writers":    {"internal/confdir", "remediate/sysctld"}, // for the agent and for doctor
	"internal/doctor": { // apart from the command, so that its judgement is pure and its reading is below a root
		"internal/confdir", "internal/writers", "remediate", "remediate/apply", "remediate/conntrack", "remediate/sysctld",
	},
	"internal/replay":  {"remediate", "watcher"},
	"internal/state":   {"notify", "remediate"},
	"internal/secret":  nil, // apart from its users, of which one must not have NATS
	"internal/tcppeer": nil,
	"internal/agent": {
		"internal/exposition", "internal/state", "internal/tcppeer", "notify", "remediate", "remediate/apply", "remediate/conntrack",
		"notify/oncall",     // the senders that a host uses without a hub
		"remediate/sysctld", // which line sets the limit that somebody else has set
		"internal/writers",  // and which program
		"watcher",
		"internal/persist", // to have a limit made to last
	},
	"cmd/ctwarden": {
		"internal/agent", "internal/config", "internal/doctor", "internal/replay", "notify", "remediate", "remediate/apply",
		"notify/oncall", // their part of the configuration
		"remediate/conntrack", "watcher",
		"internal/failpoint", "internal/release",
		"internal/persist", // root's end of it
	},
	"internal/persist": {"remediate", "remediate/apply"}, // the line to root's helper: the one boundary of privilege
	"cmd/ctwarden-hub": {
		"internal/config", "internal/failpoint", "notify", "notify/fleet", "notify/hub", "notify/hub/web", "notify/oncall", "remediate",
		"internal/simulate", "internal/release",
	},
	"internal/simulate":  {"notify", "remediate"}, // the agent's code for events without what reads the kernel, so that the hub's program can play a fleet
	"internal/failpoint": nil,                     // for both programs, which are tested by being killed

	// Programs that build the packages.
	"packaging/glibcfloor": nil,
	"packaging/licenses":   nil,
	"packaging/man":        nil,

	// Used by tests alone.
	"packaging":            nil, // the tests of the packages
	"internal/e2e":         nil,
	"internal/e2e/kernels": nil, // apart, since it boots four kernels and is a target of its own
	"internal/imports":     nil,
	"internal/testbrowser": {"internal/testhost"}, // for the page's own tests and for the hub as a process
	"internal/testhost":    {"internal/testkernel"},
	"internal/testkernel":  nil,
	"internal/testpager":   {"internal/testhost"}, // receivers of pages, for the hub in a process and as one
	"internal/testvm":      {"internal/testhost"}, // emulated machines, for both packages of tests above

	// Apart from the other tests of the whole, since it needs built packages and a Debian to boot: make e2e runs it.
	"internal/e2e/installed": nil,
}

// forbidden must not be in a program, not even by way of another package: beginnings of import paths. The agent must not
// have what would take a tenth or more of its memory: html/template has the linker keep every method of every type, and
// Prometheus' library brings protobuf along.
var forbidden = map[string][]string{
	"cmd/ctwarden": {
		"github.com/nats-io/nats-server", module + "notify/hub", module + "internal/test", module + "internal/e2e", "testing",
		"html/template", "github.com/prometheus", "google.golang.org/protobuf",
	},
	"cmd/ctwarden-hub": {
		module + "watcher", module + "remediate/", module + "internal/test", module + "internal/e2e", "testing",
	},
}

// goList runs go list at the root of the module and returns its lines.
func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v: %s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func TestImportsOfOurOwn(t *testing.T) {
	found := map[string]bool{}
	for _, line := range goList(t, "-f", "{{.ImportPath}}{{range .Imports}} {{.}}{{end}}", "./...") {
		pkg, imports, _ := strings.Cut(line, " ")
		pkg = strings.TrimPrefix(pkg, module)
		found[pkg] = true
		may, known := allowed[pkg]
		if !known {
			t.Errorf("package %s is not in the list of packages; enter it with what it may import", pkg)
			continue
		}
		for _, imported := range strings.Fields(imports) {
			if own, ok := strings.CutPrefix(imported, module); ok && !slices.Contains(may, own) {
				t.Errorf("%s imports %s; it may import %v", pkg, own, may)
			}
		}
	}
	for pkg := range allowed {
		if !found[pkg] {
			t.Errorf("package %s is in the list and nowhere else", pkg)
		}
	}
}

func TestImportsOfPrograms(t *testing.T) {
	for program, beginnings := range forbidden {
		deps := goList(t, "-deps", "./"+program)
		if !slices.Contains(deps, module+program) {
			t.Errorf("%s does not depend on itself: %d packages", program, len(deps))
		}
		for _, dep := range deps {
			for _, beginning := range beginnings {
				if strings.HasPrefix(dep, beginning) {
					t.Errorf("%s contains %s", program, dep)
				}
			}
		}
	}
}
