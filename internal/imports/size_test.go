package imports

import (
	"debug/elf"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sizeBound is how much code and tables the agent may have, in bytes: 3 % more than it had when this was written (the senders
// of on-call are 0.4 MB of it). On a host
// with memory to spare nearly all of it is resident as long as the agent runs, and the promise is less than 20 MB in all.
// Before it is raised, `go tool nm -size -sort size bin/ctwarden` tells what has come in.
const sizeBound = 13_500_000

// TestAgentSize builds the agent as the Makefile does. Nothing in it may look for methods by a name that only the running
// program knows, as text/template does when it executes a template: the linker then keeps every exported method of every
// type, a fifth of the program. Who imports such a package does not matter, only who calls it, so it is the linker that
// is asked.
func TestAgentSize(t *testing.T) {
	program := filepath.Join(t.TempDir(), "ctwarden")
	build := exec.Command("go", "build", "-trimpath", "-tags", "nethttpomithttp2", "-ldflags", "-dumpdep", "-o", program, "./cmd/ctwarden")
	build.Dir = "../.."
	told, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v: %s", err, told)
	}
	edges, seekers := 0, map[string]bool{}
	for line := range strings.Lines(string(told)) {
		from, _, ok := strings.Cut(line, " -> ")
		if !ok {
			continue
		}
		edges++
		if name, by, ok := strings.Cut(from, " <"); ok && strings.Contains(by, "ReflectMethod") {
			seekers[name] = true
		}
	}
	for name := range seekers {
		t.Errorf("%s looks for methods by name", name)
	}
	if edges < 1000 {
		t.Fatalf("the linker told of %d dependencies", edges)
	}
	if size := mapped(t, program); size > sizeBound || size < sizeBound/2 {
		t.Errorf("code and tables are %d bytes, want at most %d", size, sizeBound)
	} else {
		t.Logf("code and tables: %.1f MB", float64(size)/1e6)
	}
}

// mapped is how much of the program is code and tables, which are read from its file as they are used.
func mapped(t *testing.T, program string) (size uint64) {
	t.Helper()
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_W == 0 {
			size += p.Filesz
		}
	}
	return size
}
