package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// refusing has a number of namespaces that refuse, and the agent at its next turn.
func (f *fragile) refusing(t *testing.T, a *Agent, guests int) {
	t.Helper()
	f.guests(t, guests)
	a.turn()
	a.ready = true
	elapse(time.Second)
	for pid := 1000; pid < 1000+guests; pid++ {
		f.put(t, fmt.Sprintf("proc/%d/net/stat/nf_conntrack", pid), fmt.Sprintf(scratchStat, 65536, 10))
	}
	a.readSoon()
}

// fullRun makes runtime_dir a file system of that size.
func (f *fragile) fullRun(t *testing.T, size string) string {
	t.Helper()
	run := f.cfg.RuntimeDir
	if err := unix.Mount("none", run, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		testhost.Skip(t, "mount a tmpfs: "+err.Error())
	}
	t.Cleanup(func() { _ = unix.Unmount(run, unix.MNT_DETACH) })
	return run
}

// TestPromiseFullRun has /run be full when a step is due: the intent takes the room that was kept for it, and the room is
// kept again once there is some.
func TestPromiseFullRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFragile(t)
		f.live(t, 0, func(a *Agent) {
			run := f.fullRun(t, "64k")
			if _, err := a.applier.Recover(); err != nil {
				t.Fatal(err)
			}
			fill := filepath.Join(run, "somebody's")
			if err := os.WriteFile(fill, make([]byte, 64<<10), 0o600); err == nil {
				t.Fatal("there is room left")
			}
			f.refusing(t, a, 1)
			a.sample()
			if got := f.limit(t); got != "131072" {
				t.Fatalf("limit %s; notes %v", got, a.notes)
			}
			a.pass(5) // the intent is forgotten while there still is no room
			if err := os.Remove(fill); err != nil {
				t.Fatal(err)
			}
			a.pass(int(discoverMost / time.Second))
			if left, err := os.ReadDir(run); err != nil || len(left) != 1 || left[0].Name() != "reserve" {
				t.Fatalf("left are %v, %v; want the reserve alone", left, err)
			}
			testhost.Held(t, "5.12 full /run", "a step from 65536 to %s was taken, and its room was kept again %v after there was some",
				f.limit(t), discoverMost)
		})
	})
}

// TestOneFailureATurn has many tables ask for a step that cannot be taken: that is one failure, and the next try is soon.
func TestOneFailureATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFragile(t)
		f.live(t, 0, func(a *Agent) {
			fill := filepath.Join(f.fullRun(t, "4k"), "somebody's") // too small for the room that is kept, too
			if err := os.WriteFile(fill, make([]byte, 4<<10), 0o600); err != nil {
				t.Fatal(err)
			}
			f.refusing(t, a, 8)
			a.sample()
			if wait := time.Until(a.stepAfter); a.stepFails != 1 || wait > retryStep {
				t.Errorf("%d failures, next try in %v", a.stepFails, wait)
			}
			if err := unix.Unmount(f.cfg.RuntimeDir, unix.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
			elapse(retryStep)
			a.readSoon()
			a.sample()
			if got := f.limit(t); got != "131072" {
				t.Errorf("limit %s %v later", got, retryStep)
			}
		})
	})
}
