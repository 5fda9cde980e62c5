package agent

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

const (
	// shareEnv names the socket to a process that runs TestShareAsAnother as another user.
	shareEnv = "CTWARDEN_TEST_SHARE"
	// shareGID is a group that the user nobody is no member of.
	shareGID = 4242
)

// TestShareAsAnother is run by TestSocketOfAnOrdinaryUserForAGroup: it opens the socket, or connects to it.
func TestShareAsAnother(t *testing.T) {
	what, path, ok := strings.Cut(os.Getenv(shareEnv), " ")
	if !ok {
		t.Skip("run by another test")
	}
	if what == "connect" {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		return
	}
	l, err := listenAs(path, shareGID) // no member of the group, and without capabilities: it cannot be given to it
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // which leaves the file, as its owner and mode are looked at
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
}

// TestSocketOfAnOrdinaryUserForAGroup has an agent that is not root open its socket for a group that it is not in.
func TestSocketOfAnOrdinaryUserForAGroup(t *testing.T) {
	testhost.NeedRoot(t)
	dir := testhost.PublicDir(t)
	if err := os.Chown(dir, testhost.Nobody, testhost.Nobody); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	if out, err := shareAs(t, "listen", path, testhost.Nobody, testhost.Nobody).CombinedOutput(); err != nil {
		if strings.Contains(string(out), syscall.ENOTSUP.Error()) {
			testhost.Skip(t, dir+" is on a file system without access lists")
		}
		t.Fatalf("%v: %s", err, out)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t); owner.Uid != testhost.Nobody || owner.Gid == shareGID || info.Mode().Perm() != 0o660 {
		t.Errorf("of %d:%d, mode %v", owner.Uid, owner.Gid, info.Mode())
	}
	for _, who := range []struct {
		name     string
		uid, gid uint32
		allowed  bool
	}{
		{"the owner", testhost.Nobody, testhost.Nobody, true},
		{"a member of the group", 65532, shareGID, true},
		{"a member of another group", 65532, shareGID + 1, false},
		{"a member of the owner's own group", 65532, testhost.Nobody, false},
	} {
		out, err := shareAs(t, "connect", path, who.uid, who.gid).CombinedOutput()
		refused := strings.Contains(string(out), "connection refused") // nobody listens any more: it was let that far
		denied := strings.Contains(string(out), "permission denied")
		if err == nil || who.allowed != refused || who.allowed == denied {
			t.Errorf("%s: %v: %s", who.name, err, out)
		}
	}
}

func shareAs(t *testing.T, what, path string, uid, gid uint32) *exec.Cmd {
	t.Helper()
	cmd := testhost.AsNobody(t, "TestShareAsAnother", fmt.Sprintf("%s=%s %s", shareEnv, what, path))
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid, Groups: []uint32{gid}}
	return cmd
}
