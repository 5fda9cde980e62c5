package installed

import (
	"context"
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// TestARM64 runs the programs for arm64 under qemu's emulation of a process, with the oldest C library that they are for.
func TestARM64(t *testing.T) {
	p := built(t)
	if runtime.GOARCH == "arm64" {
		t.Skip("this machine is one; the other tests run the programs")
	}
	emulate := emulator(t)
	agent, hub := unpackARM64(t, p, "ctwarden"), unpackARM64(t, p, "ctwarden-hub")
	version := field(t, p.deb(t, "ctwarden"), "Version")
	for _, program := range []string{agent, hub} {
		if out, code := emulate(t, program, "version"); code != 0 || !strings.Contains(out, version) {
			t.Errorf("%s version: exit %d: %s, want %s", filepath.Base(program), code, out, version)
		}
	}
	t.Run("check-config", func(t *testing.T) {
		for _, args := range [][]string{{agent, "../../../packaging/ctwarden.yaml"}, {hub, "../../../packaging/hub.yaml"}} {
			if out, code := emulate(t, args[0], "check-config", args[1]); code != 0 {
				t.Errorf("%v: exit %d: %s", args, code, out)
			}
		}
		bad := filepath.Join(t.TempDir(), "bad.yaml")
		if err := os.WriteFile(bad, []byte("mode: rescue\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, code := emulate(t, agent, "check-config", bad); code != 2 || !strings.Contains(out, "rescue") {
			t.Errorf("a file with a mistake: exit %d: %s", code, out)
		}
	})
	t.Run("replay", func(t *testing.T) { replayARM64(t, emulate, agent) })
	t.Run("status", func(t *testing.T) {
		out, code := emulate(t, agent, "status", "-o", "json")
		var status struct {
			Running bool
			Kernel  string
			Limits  struct {
				Max uint64 `json:"nf_conntrack_max"`
			}
		}
		if err := json.Unmarshal([]byte(out), &status); err != nil || code != 0 || status.Kernel == "" || status.Limits.Max == 0 {
			t.Errorf("exit %d, %v: %s", code, err, out)
		}
	})
}

// emulator returns what runs a program for arm64 to its end.
func emulator(t *testing.T) func(t *testing.T, program string, args ...string) (string, int) {
	t.Helper()
	qemu := ""
	for _, name := range []string{"qemu-aarch64-static", "qemu-aarch64"} {
		if path, err := exec.LookPath(name); err == nil {
			qemu = path
			break
		}
	}
	if qemu == "" {
		testhost.Skip(t, "needs qemu-aarch64-static: run scripts/setup.sh e2e as root")
	}
	// The C library that the packages were linked to.
	compiler := strings.TrimSpace(output(t, exec.Command("../../../scripts/sysroot.sh", "arm64")))
	libraries := filepath.Join(filepath.Dir(compiler), "lib/aarch64-linux-gnu")
	// Not by qemu's -L, under which the program takes the root of that library for the host's.
	loader := []string{filepath.Join(libraries, "ld-linux-aarch64.so.1"), "--library-path", libraries}
	return func(t *testing.T, program string, args ...string) (string, int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), commandTime)
		defer cancel()
		command := append([]string{program}, args...)
		if linked(t, program) {
			command = slices.Concat(loader, command)
		}
		return runToEnd(t, exec.CommandContext(ctx, qemu, command...))
	}
}

// linked tells whether a program asks for a C library.
func linked(t *testing.T, program string) bool {
	t.Helper()
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	return slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// unpackARM64 returns the program of a package.
func unpackARM64(t *testing.T, p packages, name string) string {
	t.Helper()
	dir := t.TempDir()
	output(t, exec.Command("dpkg-deb", "--extract", p.only(t, name+"_*_arm64.deb"), dir))
	return filepath.Join(dir, "usr/bin", name)
}

// replayARM64 reads a log with a refusal, and wants the same of it as from the program for this machine.
func replayARM64(t *testing.T, emulate func(*testing.T, string, ...string) (string, int), agent string) {
	log := filepath.Join(t.TempDir(), "kern.log")
	line := "2026-02-25T03:45:03.778502+00:00 web1 kernel: [20763743.334180] nf_conntrack: nf_conntrack: table full, dropping packet\n"
	if err := os.WriteFile(log, []byte(strings.Repeat(line, 3)), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"replay", "--host", "*", "-o", "json", log}
	got, code := emulate(t, agent, args...)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, got)
	}
	dir := t.TempDir()
	output(t, exec.Command("dpkg-deb", "--extract", built(t).deb(t, "ctwarden"), dir))
	want := output(t, exec.Command(filepath.Join(dir, "usr/bin/ctwarden"), args...))
	if got != want || !strings.Contains(got, `"matches":3`) && !strings.Contains(got, `"matches": 3`) {
		t.Errorf("on arm64\n%s\nwant\n%s", got, want)
	}
}
