package imports

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// TestPromiseNoShell looks whether the programs could start another program at all. What is linked counts, not what is
// imported: some libraries have a use for os/exec that the programs do not reach.
func TestPromiseNoShell(t *testing.T) {
	starts := []string{"os.StartProcess", "syscall.forkExec", "syscall.Exec"} // what all ways to start a program come down to
	programs := []string{"cmd/ctwarden", "cmd/ctwarden-hub"}
	symbols := 0
	for _, program := range programs {
		for _, line := range goList(t, "-deps", "-f", "{{.ImportPath}}{{range .Imports}} {{.}}{{end}}", "./"+program) {
			pkg, imports, _ := strings.Cut(line, " ")
			if strings.HasPrefix(pkg, module) && slices.Contains(strings.Fields(imports), "os/exec") {
				t.Errorf("%s imports os/exec", pkg)
			}
		}
		out := t.TempDir() + "/program"
		build := exec.Command("go", "build", "-o", out, "./"+program)
		build.Dir = "../.."
		if text, err := build.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v: %s", err, text)
		}
		text, err := exec.Command("go", "tool", "nm", out).Output()
		if err != nil {
			t.Fatalf("go tool nm: %v", err)
		}
		names := map[string]bool{}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 0 {
				names[fields[len(fields)-1]] = true
			}
		}
		if !names["main.main"] {
			t.Fatalf("%s has no main.main among %d symbols", program, len(names))
		}
		symbols += len(names)
		for _, start := range starts {
			if names[start] {
				t.Errorf("%s can start a program: it has %s", program, start)
			}
		}
	}
	testhost.Held(t, "7.9 no shell", "%d programs, %d symbols: none that starts a program", len(programs), symbols)
}
