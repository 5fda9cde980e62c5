package testhost

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Journald is a systemd-journald in its own mount namespace, with its own /run.
type Journald struct {
	daemon
	// Dir is where it writes, as seen from here.
	Dir string
}

const journaldPath = "/lib/systemd/systemd-journald"

const journaldScript = `set -e
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/systemd/journal /run/log/journal /run/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nReadKMsg=yes\nRateLimitBurst=0\n' >/run/systemd/journald.conf.d/test.conf
mount --bind "$1" /run/log/journal
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
	NeedRoot(t)
	if _, err := os.Stat(journaldPath); err != nil {
		Skip(t, "needs systemd-journald (package systemd): "+err.Error())
	}
	j := &Journald{
		daemon: start(t, exec.Command("unshare", "-m", "sh", "-c", journaldScript, "sh", dir)), Dir: dir,
	}
	Eventually(t, "journald's socket", func() bool {
		_, err := os.Stat(j.Path("/run/systemd/journal/socket"))
		return err == nil
	})
	word := KernelRecord(t) // the ring buffer is read in order, so this comes last
	Eventually(t, "journald has read the ring buffer", func() bool {
		out, err := exec.Command("journalctl", "-D", dir, "-q", "-o", "cat", "_TRANSPORT=kernel").Output()
		return err == nil && strings.Contains(string(out), word)
	})
	return j
}

// Path is a path in journald's namespace as seen from here.
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
