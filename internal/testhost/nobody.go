package testhost

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// Nobody is the user and the group of what must have no rights.
const Nobody = 65534

// AsNobody is a command that runs one test of the calling program again as an ordinary user, with env besides. The
// program's file is handed over open, since it may lie in a directory that nobody can enter; so the first file that is
// appended to ExtraFiles is the command's descriptor 4.
func AsNobody(t testing.TB, test string, env ...string) *exec.Cmd {
	t.Helper()
	program, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	cmd := exec.Command("/proc/self/fd/3", "-test.run=^"+test+"$")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), env...)
	cmd.ExtraFiles = []*os.File{program}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: Nobody, Gid: Nobody, Groups: []uint32{Nobody}},
	}
	return cmd
}

// PublicDir is a directory of the test's that every user may enter, unlike t.TempDir, and whose path is short enough
// for a socket in it.
func PublicDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctw-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
