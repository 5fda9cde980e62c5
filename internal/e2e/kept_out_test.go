package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

// asUser runs what follows as a user without a name.
func asUser(uid, gid int) []string {
	return []string{"setpriv", fmt.Sprintf("--reuid=%d", uid), fmt.Sprintf("--regid=%d", gid), "--clear-groups", "--bounding-set=-all", "--no-new-privs"}
}

// TestPromiseOthersKeptOut asks a running agent, its files and its metrics as other users.
func TestPromiseOthersKeptOut(t *testing.T) {
	testhost.NeedRoot(t)
	gid := groupNumber(t, "daemon")
	dir := testhost.PublicDir(t)
	a := newAgent(t, dir, "control_group: daemon\nsources: {lookback: 0s, journal: {enabled: false}, syslog: {enabled: false}}\nremediate: {persist: false}")
	a.listenOnSocket(t)
	a.start(t)
	a.wantCommand(t, 0, nil, "hold", "--for", "1h")
	a.wantCommand(t, 0, nil, "status")
	orders := [][]string{{"status"}, {"raise", "--to", "999999"}, {"revert"}, {"hold"}, {"unhold"}}
	kept := 0
	for _, order := range orders {
		said, code := runToEnd(t, append(append(asUser(54321, 54321), filepath.Join(bin, "ctwarden")), append(order, "--config", a.config)...)...)
		if code != 3 && order[0] != "status" || !strings.Contains(said, "not permitted") && !strings.Contains(said, "permission denied") {
			t.Errorf("another user: %v: exit code %d: %s", order, code, said)
		}
		kept++
	}
	said, code := runToEnd(t, append(asUser(54321, gid), filepath.Join(bin, "ctwarden"), "status", "--config", a.config)...)
	if code != 0 || !strings.Contains(said, "HELD") {
		t.Errorf("a member of the group: exit code %d: %s", code, said)
	}
	for _, who := range []struct {
		gid    int
		socket bool
	}{{54321, false}, {gid, true}} {
		reached := reachable(t, asUser(54321, who.gid), dir)
		want := []string{}
		if who.socket {
			want = []string{"run/control.sock", "run/metrics.sock"}
		}
		if !slices.Equal(reached, want) {
			t.Errorf("gid %d can open %q, want %q", who.gid, reached, want)
		}
	}
	if s := a.status(t); s.Held == nil {
		t.Error("somebody has released the hold")
	}
	refused, served, storm := metricsKeptOut(t, a)
	testhost.Held(t, "7.3 others kept out", "%d of %d orders of another user refused; of the state, hold, intents and sockets 0 can be opened "+
		"by others, and by members of control_group the 2 sockets alone; metrics over TCP: %d of another user's requests refused, "+
		"%d of root, the group and a named user served; %s", kept, len(orders), refused, served, storm)
}

func groupNumber(t *testing.T, name string) int {
	t.Helper()
	out, err := exec.Command("getent", "group", name).Output()
	var gid int
	if parts := strings.Split(string(out), ":"); err == nil && len(parts) > 2 {
		_, err = fmt.Sscan(parts[2], &gid)
	}
	if err != nil || gid == 0 {
		testhost.Skip(t, fmt.Sprintf("needs a group %s: %v", name, err))
	}
	return gid
}

// reachable lists what a user can read or write of the agent's files, seen from dir.
func reachable(t *testing.T, as []string, dir string) []string {
	t.Helper()
	files := []string{}
	for _, sub := range []string{"state", "run"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil || len(entries) == 0 {
			t.Fatalf("%s: %v, %v", sub, entries, err)
		}
		for _, e := range entries {
			path := filepath.Join(dir, sub, e.Name())
			if _, code := runToEnd(t, append(as, "sh", "-c", `test -r "$1" || test -w "$1"`, "sh", path)...); code == 0 {
				files = append(files, filepath.Join(sub, e.Name()))
			}
		}
	}
	return files
}

// TestPromiseHostileDirectories: root works in no directory that somebody else can write to.
func TestPromiseHostileDirectories(t *testing.T) {
	testhost.NeedRoot(t)
	refused := 0
	for _, c := range []struct {
		dir, want string
		mode      os.FileMode
		uid       int
	}{
		{"state", "state_dir DIR/state belongs to", 0o700, testhost.Nobody},
		{"run", "runtime_dir DIR/run belongs to", 0o700, testhost.Nobody},
		{"state", "state_dir DIR/state may be written to by every user", 0o777, 0},
		{"run", "runtime_dir DIR/run may be written to by every user", 0o777 | os.ModeSticky, 0},
	} {
		dir := testhost.PublicDir(t)
		path := filepath.Join(dir, c.dir)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, c.uid, 0); err != nil {
			t.Fatal(err)
		}
		a := newAgent(t, dir, "")
		said, code := a.command(t, "run")
		if code != 3 {
			t.Errorf("exit code %d, want 3", code)
		}
		wantWords(t, said, strings.ReplaceAll(c.want, "DIR", dir), "ch")
		if left, err := os.ReadDir(path); err != nil || len(left) > 0 {
			t.Errorf("%s: %v, %v were written", path, left, err)
		}
		refused++
	}
	testhost.Held(t, "7.4 hostile directories", "%d of 4 directories that others may write to were refused at the start, with 0 files written", refused)
}

// TestPromiseWithoutCgo: the program that needs no library of the host's does all but read the journal, and says so.
func TestPromiseWithoutCgo(t *testing.T) {
	testhost.NeedRoot(t)
	path := filepath.Join(bin, "static", "ctwarden")
	build := exec.Command("go", "build", "-o", path, "../../cmd/ctwarden")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	a := newAgent(t, t.TempDir(), "sources: {lookback: 0s, kmsg: {enabled: true}, syslog: {enabled: false}}")
	a.program = path
	a.start(t)
	journal := a.source(t, remediate.SourceJournal, "")
	if journal.Up || !strings.Contains(journal.Problem, "without cgo") || !strings.Contains(journal.Remedy, "built with cgo") {
		t.Errorf("the journal %+v", journal)
	}
	if s := a.source(t, remediate.SourceKmsg, ""); !s.Up {
		t.Errorf("kmsg %+v", s)
	}
	a.stop(t, syscall.SIGTERM)
	a.configure(t, "sources: {kmsg: {enabled: false}, syslog: {enabled: false}, journal: {enabled: true}}")
	if said, code := runToEnd(t, path, "run", "--config", a.config); code != 3 || !strings.Contains(said, "without cgo") {
		t.Errorf("a journal that must be there: exit code %d: %s", code, said)
	}
	testhost.Held(t, "7.5 without cgo", "it starts, reads kmsg, and says of the journal: %s", journal.Problem)
}
