package agent

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/persist"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// throughHelper makes the sysctl.d directory one that the agent cannot write to, and has a helper at a socket that can. It
// returns how many requests the helper has answered.
func (f *fragile) throughHelper(t *testing.T) (answered func() int) {
	t.Helper()
	// The same host once more, without the mount that follows.
	writable := t.TempDir()
	if err := unix.Mount(f.root, writable, "", unix.MS_BIND, ""); err != nil {
		testhost.Skip(t, "mount a directory: "+err.Error())
	}
	t.Cleanup(func() { _ = unix.Unmount(writable, unix.MNT_DETACH) })
	bindMount(t, filepath.Join(f.root, "etc/sysctl.d"))(true)
	applier, err := apply.New(apply.Config{Root: writable, PersistFile: f.cfg.PersistFile, Host: f.cfg.Host, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { applier.Close() })
	helper := persist.Helper{Applier: applier, Policy: f.cfg.Policy, Users: []uint32{uint32(unix.Geteuid())}}
	f.cfg.PersistSocket = filepath.Join(testhost.PublicDir(t), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: f.cfg.PersistSocket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan int, 1) // how many so far; whoever takes it puts it back
	served <- 0
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			if _, err := helper.Serve(conn); err != nil {
				t.Errorf("helper: %v", err)
			}
			conn.Close()
			served <- <-served + 1
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return func() int {
		n := <-served
		served <- n
		return n
	}
}

// TestDecayThroughTheHelper has the sysctl.d file come with two steps and follow them back where the agent cannot write it.
func TestDecayThroughTheHelper(t *testing.T) {
	testhost.NeedRoot(t)
	f := newFragile(t)
	answered := f.throughHelper(t)
	synctest.Test(t, func(t *testing.T) { f.decays(t) })
	if n := answered(); n != 3 {
		t.Errorf("the helper was asked %d times, want to persist, to rewrite and to withdraw", n)
	}
}

// TestNoHelper has neither a directory to write to nor a helper: the error says what is missing.
func TestNoHelper(t *testing.T) {
	testhost.NeedRoot(t)
	f := newFragile(t)
	f.cfg.PersistSocket = filepath.Join(t.TempDir(), "none")
	bindMount(t, filepath.Join(f.root, "etc/sysctl.d"))(true)
	a := f.open(t)
	_, err := a.lasting().Persist(remediate.Step{From: 65536, To: 131072, Reason: remediate.ReasonFull}, apply.PersistMeta{})
	if err == nil || !strings.Contains(err.Error(), "read-only file system") || !strings.Contains(err.Error(), "ctwarden-persist.socket") {
		t.Errorf("persist: %v", err)
	}
	if removed, err := a.lasting().Unpersist(); removed || err != nil {
		t.Errorf("nothing to remove: %v, %v", removed, err)
	}
}
