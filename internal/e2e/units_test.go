package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

const (
	unitDir   = "../../systemd"
	dropinDir = unitDir + "/ctwarden.service.d"
)

// needAnalyze skips the test where systemd-analyze cannot look at units of another root, which it can from 250 on.
func needAnalyze(t *testing.T) {
	t.Helper()
	out, err := exec.Command("systemd-analyze", "--version").Output()
	if err != nil {
		testhost.Skip(t, "needs systemd-analyze: "+err.Error())
	}
	var version int
	if _, err := fmt.Sscanf(string(out), "systemd %d", &version); err != nil || version < 250 {
		testhost.Skip(t, fmt.Sprintf("needs the systemd-analyze of systemd 250 or later, not %d (%v)", version, err))
	}
}

// unitRoot is a root with systemd's own units, ours, the programs that they run, and some of the drop-ins as an operator
// links them.
func unitRoot(t *testing.T, dropins ...string) string {
	t.Helper()
	root := t.TempDir()
	units := filepath.Join(root, "usr/lib/systemd/system")
	if err := os.MkdirAll(filepath.Dir(units), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(units, os.DirFS("/usr/lib/systemd/system")); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"*.service", "*.socket"} {
		copyFiles(t, filepath.Join(unitDir, pattern), units)
	}
	for _, name := range dropins {
		copyFiles(t, filepath.Join(dropinDir, name), filepath.Join(root, "etc/systemd/system/ctwarden.service.d"))
	}
	copyFiles(t, filepath.Join(bin, "ctwarden*"), filepath.Join(root, "usr/bin"))
	for _, program := range []string{"/bin/sh", "/bin/mkdir", "/bin/mount"} { // the last for units of systemd's own
		copyFiles(t, program, filepath.Join(root, "bin"))
	}
	return root
}

func copyFiles(t *testing.T, pattern, into string) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(names), err)
	}
	if err := os.MkdirAll(into, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(into, filepath.Base(name)), text, fileMode(t, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func fileMode(t *testing.T, name string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

// TestPromiseExposure holds what systemd thinks of the units' sandboxes.
func TestPromiseExposure(t *testing.T) {
	needAnalyze(t)
	tests := []struct {
		unit    string
		dropins []string
		most    float64
	}{
		{"ctwarden.service", nil, 2.2},
		{"ctwarden.service", []string{"remediate.conf"}, 2.2},
		{"ctwarden.service", []string{"namespaces.conf"}, 2.6},
		{"ctwarden.service", []string{"remediate.conf", "namespaces.conf"}, 2.8},
		{"ctwarden-persist@1.service", nil, 1.5},
		{"ctwarden-hub.service", nil, 1.5},
	}
	var figures []string
	for _, tt := range tests {
		name := strings.Join(append([]string{tt.unit}, tt.dropins...), " with ")
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--root="+unitRoot(t, tt.dropins...), tt.unit).CombinedOutput()
		found := regexp.MustCompile(`Overall exposure level for \S+: (\d+\.\d)`).FindSubmatch(out)
		if err != nil || found == nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		got, err := strconv.ParseFloat(string(found[1]), 64)
		if err != nil || got > tt.most {
			t.Errorf("%s: exposure %v, want at most %v (%v):\n%s", name, got, tt.most, err, out)
		}
		figures = append(figures, fmt.Sprintf("%s %v", name, got))
	}
	testhost.Held(t, "7.11 exposure", "%s", strings.Join(figures, ", "))
}

// TestUnitsVerify has systemd read the units as it would at a start.
func TestUnitsVerify(t *testing.T) {
	needAnalyze(t)
	root := unitRoot(t, "remediate.conf", "namespaces.conf")
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", "--root="+root,
		"ctwarden.service", "ctwarden-persist.socket", "ctwarden-persist@1.service", "ctwarden-hub.service").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
	spoilt := filepath.Join(root, "usr/lib/systemd/system/ctwarden.service")
	writeFile(t, spoilt, "[Service]\nExecStart=/usr/bin/ctwarden run\nProtectSytem=strict\n", 0o644)
	if out, _ := exec.Command("systemd-analyze", "verify", "--man=no", "--root="+root, "ctwarden.service").CombinedOutput(); len(out) == 0 {
		t.Error("a misspelt key goes unnoticed: this test cannot fail")
	}
}

// TestUnitsNameTheCodesPlaces holds the names in units and scripts to those in the programs.
func TestUnitsNameTheCodesPlaces(t *testing.T) {
	service := readFile(t, unitDir+"/ctwarden.service")
	socket := readFile(t, unitDir+"/ctwarden-persist.socket")
	wantWords(t, socket, "ListenStream=/run/ctwarden-persist.sock\n", "SocketGroup=ctwarden\n", "SocketMode=0660\n", "Accept=yes\n")
	wantWords(t, service, "Type=notify\n", "StateDirectory=ctwarden\n", "RuntimeDirectory=ctwarden\n", "RuntimeDirectoryPreserve=yes\n",
		"ExecStart=/usr/bin/ctwarden run\n", "Restart=always\n")
	if regexp.MustCompile(`(?m)^RestartPreventExitStatus=`).MatchString(service) {
		t.Error("the code of a wrong configuration is also that of a crash in Go: such an agent would not be restarted")
	}
	run, code := ctwarden(t, "run", "--help")
	if code != 0 || strings.Contains(run, "persist-socket") {
		t.Errorf("%d: %s", code, run)
	}
	helper, code := ctwarden(t, "persist-helper", "--help")
	if code != 0 || !strings.Contains(helper, "ctwarden-persist@.service") {
		t.Errorf("%d: %s", code, helper)
	}
	shipped := readFile(t, "../../packaging/ctwarden.yaml")
	wantWords(t, shipped, "\nstate_dir: /var/lib/ctwarden\n", "\nruntime_dir: /run/ctwarden\n")
	scripts := readFile(t, "../../packaging/scripts/ctwarden.postrm") + readFile(t, "../../packaging/scripts/ctwarden.prerm")
	for _, mark := range []string{"# ctwarden-persisted: 1", "# ctwarden-module: 1"} {
		if !strings.Contains(scripts, "'"+mark+"'") {
			t.Errorf("no script knows files by %q", mark)
		}
		code := readFile(t, "../../remediate/apply/persisted.go") + readFile(t, "../../remediate/apply/module.go")
		if !strings.Contains(code, `"`+mark+`"`) {
			t.Errorf("no file is marked with %q", mark)
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sandboxed are the units that may name only what is not used.
var sandboxed = []string{"ctwarden.service", "ctwarden-persist@.service", "ctwarden-hub.service"}

// TestUnitsExplainEachHole: what is left open in a sandbox has its reason above it.
func TestUnitsExplainEachHole(t *testing.T) {
	hole := regexp.MustCompile(`^(Protect\w+|Private\w+)=(no|default)$|^ProcSubset=all$|^DeviceAllow=|^AmbientCapabilities=.`)
	for _, name := range sandboxed {
		lines := strings.Split(readFile(t, filepath.Join(unitDir, name)), "\n")
		holes := 0
		for i, line := range lines {
			if !hole.MatchString(line) {
				continue
			}
			holes++
			// The comment stands above the group of lines that the line is in.
			start := i
			for start > 0 && lines[start-1] != "" && lines[start-1][0] != '#' {
				start--
			}
			if start == 0 || !strings.HasPrefix(lines[start-1], "#") {
				t.Errorf("%s:%d: %s has no reason above it", name, i+1, line)
			}
		}
		if holes == 0 {
			t.Errorf("%s: no hole was found", name)
		}
	}
	if dropins, err := filepath.Glob(dropinDir + "/*.conf"); err != nil || !slices.Equal(baseNames(dropins), []string{"namespaces.conf", "remediate.conf"}) {
		t.Errorf("%v, %v", dropins, err)
	}
}

func baseNames(paths []string) (names []string) {
	for _, p := range paths {
		names = append(names, filepath.Base(p))
	}
	return names
}
