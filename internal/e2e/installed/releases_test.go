package installed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

// releaseConfig has the agent read kmsg and the journal of a test's own journald.
const releaseConfig = `mode: observe
sources: {kmsg: {enabled: true}, journal: {directory: ` + journalDir + `}, syslog: {enabled: false}}
metrics: {listen: ""}
`

const journalDir = "/var/log/journal-of-the-test"

// TestReleases installs the agent on each Debian that it is for and starts it there, with that Debian's own C library, and
// with and without its libsystemd.
func TestReleases(t *testing.T) {
	deb := built(t).deb(t, "ctwarden")
	need(t)
	t.Setenv("SYSTEMD_JOURNAL_COMPACT", "0") // the oldest libsystemd cannot read the compact form
	journald := testhost.StartJournald(t)
	for _, suite := range []string{"bullseye", "bookworm", "trixie"} {
		t.Run(suite, func(t *testing.T) {
			r := newRoot(t, suite)
			if said := r.run(t, "dpkg", "--install", r.bring(t, deb)); !strings.Contains(said, "mode: remediate") {
				t.Errorf("the installation does not tell of the next steps:\n%s", said)
			}
			version := field(t, deb, "Version")
			if out := r.run(t, "ctwarden", "version"); !strings.Contains(out, version) {
				t.Errorf("ctwarden version says %s, want %s", out, version)
			}
			r.run(t, "ctwarden", "check-config")
			if out := r.run(t, "ctwarden", "status"); !strings.Contains(out, "no agent") {
				t.Errorf("ctwarden status without an agent says\n%s", out)
			}
			r.write(t, configFile, releaseConfig)
			r.run(t, "mknod", "/dev/kmsg", "c", "1", "11")
			r.mountFrom(t, journald.Dir, journalDir)
			r.withJournal(t)
			r.withoutLibrary(t)
		})
	}
}

// TestPurgeOfUsers wants the users that the packages made to go with a purge, and those to stay that an administrator made.
func TestPurgeOfUsers(t *testing.T) {
	p := built(t)
	r := newRoot(t, "bookworm")
	for _, name := range []string{"ctwarden", "ctwarden-hub"} {
		deb := r.bring(t, p.deb(t, name))
		r.run(t, "dpkg", "--install", deb)
		r.run(t, "dpkg", "--purge", name)
		for _, database := range []string{"passwd", "group"} {
			if out, code := r.try(t, "getent", database, name); code == 0 {
				t.Errorf("left: %s", out)
			}
		}
		r.run(t, "useradd", "--uid", "1500", "--comment", "an administrator's", name)
		r.run(t, "dpkg", "--install", deb)
		r.run(t, "dpkg", "--purge", name)
		r.run(t, "getent", "group", name)
		if out := r.run(t, "id", "--user", name); out != "1500\n" {
			t.Errorf("the user is now %s", out)
		}
		r.run(t, "userdel", name)
	}
}

// mountFrom shows a directory of this host's in the root.
func (r *root) mountFrom(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(r.path(to), 0o755); err != nil {
		t.Fatal(err)
	}
	output(t, exec.Command("nsenter", "--target", strconv.Itoa(r.holder), "--mount", "mount", "--bind", from, r.dir+to))
}

// withJournal starts the agent, which must read the journal through the root's own libsystemd.
func (r *root) withJournal(t *testing.T) {
	t.Helper()
	stop := r.runAgent(t)
	st := r.settled(t, remediate.SourceJournal)
	for _, s := range st.Sources {
		if !s.Up || s.Problem != "" || s.Records == 0 {
			t.Errorf("%s %+v", r.suite, s)
		}
	}
	t.Logf("ready, mode %s, %d sources up", st.Mode, len(st.Sources))
	stop()
}

// withoutLibrary takes libsystemd away. The journal is off then, with the reason, and the rest goes on.
func (r *root) withoutLibrary(t *testing.T) {
	t.Helper()
	r.run(t, "sh", "-c", "find / -xdev -name 'libsystemd.so.0*' -delete")
	stop := r.runAgent(t)
	defer stop()
	st := r.settled(t, remediate.SourceKmsg)
	for _, s := range st.Sources {
		switch s.Source {
		case remediate.SourceJournal:
			if s.Up || !strings.Contains(s.Problem, "libsystemd.so.0 cannot be loaded") || !strings.Contains(s.Remedy, "libsystemd0") {
				t.Errorf("%s %+v", r.suite, s)
			}
		case remediate.SourceKmsg:
			if !s.Up || s.Problem != "" {
				t.Errorf("%s %+v", r.suite, s)
			}
		}
	}
	if len(st.Sources) != 2 || !st.Running {
		t.Errorf("status %+v", st)
	}
}

// settled waits until a source has brought records.
func (r *root) settled(t *testing.T, source remediate.Source) (st agent.Status) {
	t.Helper()
	testhost.KernelRecord(t)
	testhost.Eventually(t, string(source)+" brings records", func() bool {
		st = askStatus(t, r.try)
		for _, s := range st.Sources {
			if s.Source == source && s.Records > 0 {
				return true
			}
		}
		return false
	})
	return st
}

// runAgent starts the agent in the root as a service manager does and waits until it says that it is ready.
func (r *root) runAgent(t *testing.T) (stop func()) {
	t.Helper()
	const socket = "/run/notify"
	conn := r.listen(t, socket)
	defer conn.Close()
	return startNotified(t, conn, func(ctx context.Context) *exec.Cmd {
		return r.chroot(ctx, "env", "NOTIFY_SOCKET="+socket, "ctwarden", "run")
	})
}

// startNotified starts a program as a service manager does and waits until it says at conn that it is ready. What it returns
// ends the program in order.
func startNotified(t *testing.T, conn *net.UnixConn, command func(context.Context) *exec.Cmd) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := command(ctx)
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	said := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = said, said
	ended, err := testhost.Spawn(cmd)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	if err := waitReady(conn); err != nil {
		cancel()
		<-ended
		t.Fatalf("%s is not ready: %v\n%s", cmd, err, said)
	}
	return func() {
		t.Helper()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) { // what its good end is told as
			t.Errorf("%s ended with %v:\n%s", cmd, err, said)
		} else if t.Failed() {
			t.Logf("%s said\n%s", cmd, said)
		}
	}
}

// listen makes a socket in the root. Its whole path from here would be too long for one.
func (r *root) listen(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	dir, err := os.Open(filepath.Dir(r.path(name)))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	_ = os.Remove(r.path(name)) // of the start before
	short := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(name))
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: short, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func waitReady(conn *net.UnixConn) error {
	buf := make([]byte, 4096)
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		if bytes.Contains(buf[:n], []byte("READY=1")) {
			return nil
		}
	}
}
