package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ctwarden": main, "stubborn": stubborn})
}

// TestScripts runs the real program on the scripts of testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Condition: func(cond string) (bool, error) {
			if cond != "conntrack" {
				return false, errors.New("unknown condition")
			}
			return hasConntrack(t), nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"answers": answers, "exitcode": exitcode, "expand": expand, "eventually": eventually},
	})
}

// hasConntrack tells whether this machine has a table to look at. Where tests must not be skipped, it has to.
func hasConntrack(t *testing.T) bool {
	_, err := os.Stat("/proc/sys/net/netfilter/nf_conntrack_max")
	if err != nil && os.Getenv("CTWARDEN_TEST_REQUIRE") != "" {
		t.Errorf("no connection tracking on this machine: %v", err)
	}
	return err == nil
}

// answers waits until somebody answers on a unix socket.
func answers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: answers SOCKET")
	}
	path := ts.MkAbs(args[0])
	deadline := time.Now().Add(20 * time.Second)
	for tick := time.NewTicker(20 * time.Millisecond); time.Now().Before(deadline); <-tick.C {
		if conn, err := net.Dial("unix", path); err == nil {
			ts.Check(conn.Close())
			return
		}
	}
	ts.Fatalf("nobody answers on %s", path)
}

// expand fills in the environment variables of a file.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: expand FILE")
	}
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o644))
}

// eventually runs a command line of ctwarden until its standard output holds a text.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually TEXT ctwarden ARG...")
	}
	deadline := time.Now().Add(20 * time.Second)
	for tick := time.NewTicker(100 * time.Millisecond); time.Now().Before(deadline); <-tick.C {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if strings.Contains(ts.ReadFile("stdout"), args[0]) {
			return
		}
	}
	ts.Fatalf("%q never came", args[0])
}

// exitcode runs a command line of ctwarden and compares its exit code, which exec only tells from zero.
func exitcode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode CODE ctwarden ARG...")
	}
	code := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = strings.TrimPrefix(exit.Error(), "exit status ")
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, want %s", code, args[0])
	}
}

// TestAsNobody runs the program as an unprivileged user.
func TestAsNobody(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CTWARDEN_TEST_REQUIRE") != "" {
			t.Fatal("needs root, to act as another user")
		}
		t.Skip("needs root, to act as another user")
	}
	dir, program := publicProgram(t)
	config := filepath.Join(dir, "c.yaml")
	secret := filepath.Join(dir, "secret.yaml")
	write(t, config, "state_dir: "+dir+"/lib\nruntime_dir: "+dir+"/run\nmetrics: {listen: ''}\n", 0o644)
	write(t, secret, "mode: observe\n", 0o600)
	for _, sub := range []string{"lib", "run"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	locked := lockedTree(t, dir)
	barred := bindSocket(t, filepath.Join(dir, "run", "control.sock"))
	defer barred.Close()
	tests := []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"status falls back", []string{"status", "--config", config}, 0, []string{"not permitted", "control_group", "nf_conntrack_max"}},
		{"raise", []string{"raise", "--to", "5", "--config", config}, 3, []string{"not permitted"}},
		{"revert", []string{"revert", "--config", config}, 3, []string{"not permitted"}},
		{"hold", []string{"hold", "--config", config}, 3, []string{"not permitted; run as root", dir + "/lib/hold"}},
		{"unhold without one", []string{"unhold", "--config", config}, 0, []string{"there was no hold"}},
		{"a file that may not be read", []string{"check-config", secret}, 3, []string{"may not be read by user id 65534"}},
		{"run with it", []string{"run", "--config", secret}, 3, []string{"may not be read by user id 65534"}},
		{"run without a right to state_dir", []string{"run", "--config", config}, 3, []string{"permission denied"}},
		{"doctor says what it cannot read", []string{"doctor", "--config", config, "--root", locked}, 1, []string{
			"cannot tell for certain, since a file could not be read", "UNKNOWN unreadable  /etc/sysctl.d/50-a.conf", "sudo ctwarden doctor"}},
		{"replay needs no right", []string{"replay", "--config", config, "/dev/null"}, 0, []string{"0 matches"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.args[0] == "status" && !hasConntrack(t) {
				t.Skip("no connection tracking on this machine")
			}
			said, code := asNobody(t, program, tt.args...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, want := range tt.want {
				if !strings.Contains(said, want) {
					t.Errorf("got\n%s\nwant %q", said, want)
				}
			}
		})
	}
}

// lockedTree is a system with a sysctl.d file that only root may read.
func lockedTree(t *testing.T, dir string) string {
	t.Helper()
	root := filepath.Join(dir, "root")
	if err := os.MkdirAll(filepath.Join(root, "etc/sysctl.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "etc/sysctl.d/50-a.conf"), "net.netfilter.nf_conntrack_max = 65536\n", 0o600)
	return root
}

// bindSocket makes a socket that only root may open.
func bindSocket(t *testing.T, path string) io.Closer {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return l
}

// publicProgram puts the test binary, which is the program under the program's name, where every user may run it.
func publicProgram(t *testing.T) (dir, program string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "ctwarden")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(program, data, 0o755)); err != nil {
		t.Fatal(err)
	}
	return dir, program
}

func asNobody(t *testing.T, program string, args ...string) (said string, code int) {
	t.Helper()
	const nobody = 65534
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{nobody}}}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
