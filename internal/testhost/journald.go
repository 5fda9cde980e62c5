package testhost

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Journald is a systemd-journald in its own mount namespace, with its own /run, which outlives it: it may be ended and
// started again there, as after a crash.
type Journald struct {
	daemon
	// Dir is where it writes, as seen from here.
	Dir       string
	namespace *os.File
}

// Machine is what a journald believes of the machine that it runs on. The zero value: what is so.
type Machine struct {
	// ID and BootID are 32 hex digits; with another BootID it is as if that journal was of another boot.
	ID, BootID string
}

const journaldPath = "/lib/systemd/systemd-journald"

// journaldScript gets the directory, then what is to be mounted over other files, in pairs.
const journaldScript = `set -e
mount --make-rprivate /
dir=$1; shift
while [ $# -gt 0 ]; do mount --bind "$1" "$2"; shift 2; done
mount -t tmpfs none /run
mkdir -p /run/systemd/journal /run/log/journal /run/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nReadKMsg=yes\nRateLimitBurst=0\n' >/run/systemd/journald.conf.d/test.conf
mount --bind "$dir" /run/log/journal
exec ` + journaldPath

// StartJournald runs a journald that keeps its journal in a directory of the test's, and waits until it has read all
// that the kernel has logged. SIGUSR2 has it rotate its files.
func StartJournald(t testing.TB) *Journald {
	t.Helper()
	return StartJournaldIn(t, t.TempDir())
}

// StartJournaldIn is [StartJournald] with the directory.
func StartJournaldIn(t testing.TB, dir string) *Journald {
	t.Helper()
	return StartJournaldOn(t, dir, Machine{})
}

// StartJournaldOn is [StartJournaldIn] with another machine or boot.
func StartJournaldOn(t testing.TB, dir string, m Machine) *Journald {
	t.Helper()
	NeedRoot(t)
	if _, err := os.Stat(journaldPath); err != nil {
		Skip(t, "needs systemd-journald (package systemd): "+err.Error())
	}
	args := append([]string{"-m", "sh", "-c", journaldScript, "sh", dir}, m.mounts(t)...)
	j := &Journald{daemon: start(t, exec.Command("unshare", args...)), Dir: dir}
	j.ready(t)
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", j.PID()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { namespace.Close() })
	j.namespace = namespace
	return j
}

// mounts are the files that make a journald believe it, each with what it stands for.
func (m Machine) mounts(t testing.TB) (pairs []string) {
	t.Helper()
	uuid := m.BootID
	if len(uuid) == 32 {
		uuid = strings.Join([]string{uuid[:8], uuid[8:12], uuid[12:16], uuid[16:20], uuid[20:]}, "-")
	}
	for path, text := range map[string]string{"/proc/sys/kernel/random/boot_id": uuid, "/etc/machine-id": m.ID} {
		if text == "" {
			continue
		}
		file := filepath.Join(t.TempDir(), "id")
		if err := os.WriteFile(file, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, file, path)
	}
	return pairs
}

// ready waits until journald has read all that the kernel has logged: the ring buffer is read in order.
func (j *Journald) ready(t testing.TB) {
	t.Helper()
	Eventually(t, "journald's socket", func() bool {
		_, err := os.Stat(j.Path("/run/systemd/journal/socket"))
		return err == nil
	})
	j.Written(t, KernelRecord(t))
}

// Written waits until a record of the kernel that holds the word stands in the journal.
func (j *Journald) Written(t testing.TB, word string) {
	t.Helper()
	Eventually(t, "journald writes "+word, func() bool {
		out, err := exec.Command("journalctl", "-D", j.Dir, "-q", "-o", "cat", "-n", "1000", "_TRANSPORT=kernel").Output()
		return err == nil && strings.Contains(string(out), word)
	})
}

// Kill ends it at once, wherever it is.
func (j *Journald) Kill(t testing.TB) {
	t.Helper()
	j.Signal(t, syscall.SIGKILL)
	<-j.ended // how it ended does not matter
}

// Restart runs a journald in the place of the one that has ended, with what that one has left in /run, and waits until
// it has read what the kernel has logged meanwhile.
func (j *Journald) Restart(t testing.TB) {
	t.Helper()
	j.daemon = start(t, j.command(journaldPath))
	j.Written(t, KernelRecord(t))
}

// Control runs journalctl in journald's namespace as root, such as --rotate, which waits until that is done.
func (j *Journald) Control(t testing.TB, args ...string) string {
	t.Helper()
	out, err := j.command("journalctl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("journalctl %v: %v: %s", args, err, out)
	}
	return string(out)
}

// command is a command in journald's namespace, whether journald runs or not.
func (j *Journald) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--mount=/proc/self/fd/3", name}, args...)...)
	cmd.ExtraFiles = []*os.File{j.namespace}
	return cmd
}

// Archived lists the files that were rotated away.
func (j *Journald) Archived(t testing.TB) []string {
	t.Helper()
	old, err := filepath.Glob(filepath.Join(j.Dir, "*", "system@*.journal*"))
	if err != nil {
		t.Fatal(err)
	}
	return old
}

// Path is a path in journald's namespace as seen from here, while it runs.
func (j *Journald) Path(path string) string {
	return fmt.Sprintf("/proc/%d/root%s", j.PID(), path)
}

// Run runs a command in journald's namespace as an ordinary user, with lines on its standard input.
func (j *Journald) Run(t testing.TB, lines string, command ...string) {
	t.Helper()
	args := append([]string{"-t", fmt.Sprint(j.PID()), "-m", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"},
		command...)
	cmd := exec.Command("nsenter", args...)
	cmd.Stdin = strings.NewReader(lines)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", command, err, out)
	}
}
