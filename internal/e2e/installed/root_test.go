package installed

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// root is a Debian that a test may do anything to: a cached one under a layer in memory. Both are mounted in a mount
// namespace that is held by one process and ends with it.
type root struct {
	suite  string
	dir    string // where it is, in that namespace
	holder int    // the process's ID
	// environment is what commands inside get besides PATH.
	environment []string
}

// holderScript gets the cached root, a directory for the layer and the one to mount on. The layer is in memory, so that
// it needs no file system that can be one, and is gone with its namespace.
const holderScript = `set -e
mount -t tmpfs -o mode=755 layer "$2"
mkdir "$2/upper" "$2/work"
mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" root "$3"
echo mounted
exec cat`

// newRoot makes one, until the end of the test.
func newRoot(t *testing.T, suite string) *root {
	t.Helper()
	need(t)
	cached := cachedRoot(t, suite)
	r := &root{suite: suite, environment: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
		"LC_ALL=C.UTF-8", "TERM=dumb", "DEBIAN_FRONTEND=noninteractive"}}
	layer := t.TempDir()
	r.dir = t.TempDir()
	// Slave: the network namespaces that the test makes later are to be seen there, and nothing from there here.
	cmd := exec.Command("unshare", "--mount", "--propagation=slave", "sh", "-c", holderScript, "sh", cached, layer, r.dir)
	cmd.Stderr = os.Stderr
	stdin, said := holderPipes(t, cmd)
	ended, err := testhost.Spawn(cmd)
	if err != nil {
		t.Fatal(err)
	}
	r.holder = cmd.Process.Pid
	t.Cleanup(func() {
		stdin.Close() // its end
		<-ended
	})
	if line, err := said.ReadString('\n'); err != nil || line != "mounted\n" {
		t.Fatalf("mount a root of %s: %q, %v", suite, line, err)
	}
	return r
}

func holderPipes(t *testing.T, cmd *exec.Cmd) (io.Closer, *bufio.Reader) {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	return stdin, bufio.NewReader(stdout)
}

// path is a file of the root's as seen from here. Below it no absolute link may be on the way: it would lead to this
// host's own files.
func (r *root) path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(r.holder), "root", r.dir, name)
}

// chroot is a command that runs in the root as on a host that systemd does not run on: with /proc, and nothing else.
func (r *root) chroot(ctx context.Context, args ...string) *exec.Cmd {
	const script = `set -e; mount -t proc proc "$1/proc"; exec chroot "$@"`
	command := []string{"--target", strconv.Itoa(r.holder), "--mount", "unshare", "--mount", "sh", "-c", script, "sh", r.dir, "env", "-i"}
	command = append(command, r.environment...)
	return exec.CommandContext(ctx, "nsenter", append(command, args...)...)
}

// run runs a command in the root, which must succeed.
func (r *root) run(t *testing.T, args ...string) string {
	t.Helper()
	out, code := r.try(t, args...)
	if code != 0 {
		t.Fatalf("%s in %s: exit %d: %s", strings.Join(args, " "), r.suite, code, out)
	}
	return out
}

// try runs a command in the root and returns what it wrote and its exit code.
func (r *root) try(t *testing.T, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTime)
	defer cancel()
	return runToEnd(t, r.chroot(ctx, args...))
}

// commandTime is more than any command inside takes on a busy machine.
const commandTime = 2 * time.Minute

func runToEnd(t *testing.T, cmd *exec.Cmd) (string, int) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v: %s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// write puts a file of the root in place; one that is there keeps its owner and mode.
func (r *root) write(t *testing.T, name, text string) {
	t.Helper()
	file := r.path(name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// bring copies a file of this host's into the root's /root and returns its name there.
func (r *root) bring(t *testing.T, file string) string {
	t.Helper()
	r.write(t, path.Join("/root", filepath.Base(file)), readFile(t, file))
	return path.Join("/root", filepath.Base(file))
}
