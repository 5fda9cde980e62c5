package installed

import (
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"net"
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
	e := emulator(t)
	agent, hub := unpackARM64(t, p, "ctwarden"), unpackARM64(t, p, "ctwarden-hub")
	version := field(t, p.deb(t, "ctwarden"), "Version")
	for _, program := range []string{agent, hub} {
		if out, code := e.run(t, program, "version"); code != 0 || !strings.Contains(out, version) {
			t.Errorf("%s version: exit %d: %s, want %s", filepath.Base(program), code, out, version)
		}
	}
	t.Run("check-config", func(t *testing.T) {
		for _, args := range [][]string{{agent, "../../../packaging/ctwarden.yaml"}, {hub, "../../../packaging/hub.yaml"}} {
			if out, code := e.run(t, args[0], "check-config", args[1]); code != 0 {
				t.Errorf("%v: exit %d: %s", args, code, out)
			}
		}
		bad := filepath.Join(t.TempDir(), "bad.yaml")
		if err := os.WriteFile(bad, []byte("mode: rescue\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, code := e.run(t, agent, "check-config", bad); code != 2 || !strings.Contains(out, "rescue") {
			t.Errorf("a file with a mistake: exit %d: %s", code, out)
		}
	})
	t.Run("replay", func(t *testing.T) { replayARM64(t, e, agent) })
	t.Run("run and serve", func(t *testing.T) { serveARM64(t, e, agent, hub) })
	t.Run("status", func(t *testing.T) {
		out, code := e.run(t, agent, "status", "-o", "json")
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

// emulation runs programs for arm64.
type emulation struct {
	qemu   string
	loader []string // the dynamic linker, with the C library that the packages were linked to
}

func emulator(t *testing.T) emulation {
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
	compiler := strings.TrimSpace(output(t, exec.Command("../../../scripts/sysroot.sh", "arm64")))
	libraries := filepath.Join(filepath.Dir(compiler), "lib/aarch64-linux-gnu")
	// Not by qemu's -L, under which the program takes the root of that library for the host's.
	return emulation{qemu: qemu, loader: []string{filepath.Join(libraries, "ld-linux-aarch64.so.1"), "--library-path", libraries}}
}

// command is a program with its arguments.
func (e emulation) command(ctx context.Context, t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	command := append([]string{program}, args...)
	if linked(t, program) {
		command = slices.Concat(e.loader, command)
	}
	return exec.CommandContext(ctx, e.qemu, command...)
}

// run runs a program to its end.
func (e emulation) run(t *testing.T, program string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTime)
	defer cancel()
	return runToEnd(t, e.command(ctx, t, program, args...))
}

// serve starts a program as a service manager does, waits until it says that it is ready, and ends it in order.
func (e emulation) serve(t *testing.T, program string, args ...string) {
	t.Helper()
	notify := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Cleanup(startNotified(t, conn, func(ctx context.Context) *exec.Cmd {
		cmd := e.command(ctx, t, program, args...)
		cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify)
		return cmd
	}))
}

// serveARM64 starts the hub with its NATS server, and the agent, which reaches it.
func serveARM64(t *testing.T, e emulation, agent, hub string) {
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	nats := fmt.Sprintf("127.0.0.1:%d", testhost.Port(t))
	e.serve(t, hub, "serve", "--config", write("hub.yaml", fmt.Sprintf("embedded: {enabled: true, listen: %q}\nstate: %s/hub\nlisten: \"\"\n", nats, dir)))
	config := write("ctwarden.yaml", fmt.Sprintf("mode: observe\nnats: {servers: [%q]}\nmetrics: {listen: \"\"}\nstate_dir: %s/state\nruntime_dir: %[2]s/run\n"+
		"sources: {journal: {enabled: false}, syslog: {enabled: false}}\n", "nats://"+nats, dir))
	e.serve(t, agent, "run", "--config", config)
	testhost.KernelRecord(t)
	testhost.Eventually(t, "the agent reads the kernel's log and has told NATS", func() bool {
		st := askStatus(t, func(t *testing.T, _ ...string) (string, int) {
			return e.run(t, agent, "status", "--config", config, "-o", "json")
		})
		return st.NATS.Connected && st.Outbox.Events == 0 && len(st.Sources) == 1 && st.Sources[0].Up && st.Sources[0].Records > 0
	})
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
func replayARM64(t *testing.T, e emulation, agent string) {
	log := filepath.Join(t.TempDir(), "kern.log")
	line := "2026-02-25T03:45:03.778502+00:00 web1 kernel: [20763743.334180] nf_conntrack: nf_conntrack: table full, dropping packet\n"
	if err := os.WriteFile(log, []byte(strings.Repeat(line, 3)), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"replay", "--host", "*", "-o", "json", log}
	got, code := e.run(t, agent, args...)
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
