package conntrack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

func open(t testing.TB, root string) *Table {
	t.Helper()
	table, err := Open(root, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	return table
}

func discover(t testing.TB, table *Table) []remediate.NetNS {
	t.Helper()
	all, err := table.Discover()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// find looks up a namespace in what Discover returned.
func find(all []remediate.NetNS, inode uint64) (remediate.NetNS, bool) {
	for _, ns := range all {
		if ns.Inode == inode {
			return ns, true
		}
	}
	return remediate.NetNS{}, false
}

// start starts a program that ends with the test.
func start(t testing.TB, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(cmd) })
	return cmd
}

// stop ends a program and waits for it; it may be called again.
func stop(cmd *exec.Cmd) {
	_ = cmd.Process.Kill() // it may have ended
	_ = cmd.Wait()
}

// unshared starts a process in a network namespace of its own. The kernel makes the namespace before Start returns.
func unshared(t testing.TB) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "300")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	return start(t, cmd)
}

func inodeOf(t testing.TB, pid int) uint64 {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		t.Fatal(err)
	}
	inode, ok := netInode(link)
	if !ok {
		t.Fatalf("the link reads %q", link)
	}
	return inode
}

// tree makes a root of the test's own: files by path; a content that starts with "-> " makes a link.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		put(t, root, name, content)
	}
	return root
}

func put(t testing.TB, root, name, content string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if target, ok := strings.CutPrefix(content, "-> "); ok {
		err = os.Symlink(target, path)
	} else {
		err = os.WriteFile(path, []byte(content), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
