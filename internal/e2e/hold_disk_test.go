package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// memoryDisk mounts a small tmpfs as a state_dir.
func memoryDisk(t *testing.T, dir string) {
	t.Helper()
	testhost.NeedRoot(t)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m,mode=0700"); err != nil {
		testhost.Skip(t, "mount a tmpfs: "+err.Error())
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// TestPromiseHoldWithoutDisk stops the agent's hand while the disk of state_dir takes nothing: the hold is in memory then,
// the command says so, and the agent, which runs on, takes no step until it is released.
func TestPromiseHoldWithoutDisk(t *testing.T) {
	full := func(t *testing.T, dir string) func() { return fillUp(t, dir) }
	readOnly := func(t *testing.T, dir string) func() {
		remount := func(flags uintptr) {
			testhost.Eventually(t, "remounted", func() bool { return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|flags, "") == nil })
		}
		remount(unix.MS_RDONLY)
		return func() { remount(0) }
	}
	kinds := 0
	for _, c := range []struct {
		name, why string
		fail      func(t *testing.T, dir string) (mend func())
		atStart   bool // what is open for writing is not made read-only
	}{
		{"full", "no space left on device", full, false},
		{"read-only", "read-only file system", readOnly, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, ns := lowered(t)
			h := startHub(t)
			a := newAgent(t, t.TempDir(), plain(h.url))
			dir := filepath.Join(a.dir, "state")
			memoryDisk(t, dir)
			mend := func() {}
			if c.atStart {
				mend = c.fail(t, dir)
			}
			a.start(t)
			watched(t, a, ns.Inode)
			if !c.atStart {
				mend = c.fail(t, dir)
			}

			a.wantCommand(t, 0, []string{"held: no automatic writes until", c.why, a.dir + "/run/hold", "ends with the next boot"}, "hold", "--for", "1h")
			a.wantCommand(t, 0, []string{"HELD until", a.dir + "/run/hold, in memory"}, "status")
			fill(t, ns)
			if s := h.wait(t, remediate.EventStepRefused, 1).Data.(remediate.Step); s.Reason != remediate.ReasonHeld {
				t.Errorf("refused %+v, want held", s)
			}
			wantLimit(t, limit)

			// Over a restart of the agent, which the boot outlives.
			a.stop(t, syscall.SIGTERM)
			a.wantCommand(t, 0, []string{"no agent", "HELD until", "in memory"}, "status")
			a.start(t)
			if s := a.status(t); s.Held == nil || !s.Held.UntilBoot {
				t.Errorf("after a restart: %+v", s.Held)
			}

			// A damaged one counts; unhold removes it, whatever the disk does.
			writeFile(t, filepath.Join(a.dir, "run/hold"), "noise", 0o600)
			if s := a.status(t); s.Held == nil || !s.Held.Until.IsZero() || !strings.Contains(strings.Join(s.Notes, "\n"), "it counts as a hold") {
				t.Errorf("damaged: %+v, notes %q", s.Held, s.Notes)
			}
			a.wantCommand(t, 0, []string{"released"}, "unhold")
			if s := a.status(t); s.Held != nil {
				t.Errorf("released, and yet %+v", s.Held)
			}
			if _, err := ns.Send(t.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: limit}); err != nil {
				t.Fatal(err)
			}
			h.wait(t, remediate.EventStepApplied, 1)

			// The disk is back: the agent moves the hold to it, and says so. The next one replaces that.
			a.wantCommand(t, 0, []string{"in memory"}, "hold")
			mend()
			testhost.Eventually(t, "the hold is on the disk", func() bool {
				s := a.status(t)
				if s.Held == nil {
					t.Fatal("for a moment there was no hold")
				}
				return s.Held.File == filepath.Join(dir, "hold") && !s.Held.UntilBoot && s.Held.Until.IsZero()
			})
			if _, err := os.Lstat(filepath.Join(a.dir, "run/hold")); !os.IsNotExist(err) {
				t.Errorf("the one in memory: %v", err)
			}
			a.wantCommand(t, 0, []string{"(" + dir + "/hold)"}, "hold", "--for", "1h")
			if s := a.status(t); s.Held == nil || s.Held.UntilBoot || s.Held.Until.IsZero() {
				t.Errorf("with the disk back: %+v", s.Held)
			}
			a.wantCommand(t, 0, []string{"released"}, "unhold")
			kinds++
		})
	}
	testhost.Held(t, "5.8 hold without a disk", "%d of 2 kinds: held in memory, said so, no step until released, 1 step after it", kinds)
}

// TestHoldWithFrozenDisk is the same with a disk that does not answer: the kernel keeps the process that waits for it, but
// what it had to do is done, and what it has not done by then it does not do at the thaw.
func TestHoldWithFrozenDisk(t *testing.T) {
	testhost.NeedRoot(t)
	log := filepath.Join(t.TempDir(), "kern.log")
	writeFile(t, log, "", 0o644)
	a := newAgent(t, t.TempDir(), "sources: {kmsg: {enabled: false}, journal: {enabled: false}, syslog: {files: ["+log+"]}}")
	state := filepath.Join(a.dir, "state")
	disk := newScratchDisk(t, state)
	kept, inMemory := filepath.Join(state, "hold"), filepath.Join(a.dir, "run/hold")
	there := func(path string) bool { _, err := os.Lstat(path); return err == nil }
	frozen := func(args ...string) *process {
		t.Helper()
		c := launch(t, nil, append([]string{filepath.Join(bin, "ctwarden"), "--config", a.config}, args...)...)
		testhost.Eventually(t, "the command has exited", func() bool { return exited(t, c.cmd.Process.Pid) })
		return c
	}

	// No hold on the disk: unhold has nothing to wait for.
	thaw := disk.freeze(t)
	hold := frozen("hold")
	a.wantCommand(t, 0, []string{"HELD", "in memory"}, "status")
	a.wantCommand(t, 0, []string{"released"}, "unhold")
	thaw()
	<-hold.ended
	wantWords(t, hold.output.String(), "held: no automatic writes", "has not answered for 2s", "in memory")
	if there(kept) {
		t.Error("the thaw brought a hold that was released before")
	}

	// One for an hour on the disk: unhold can do nothing, and does nothing.
	a.wantCommand(t, 0, []string{kept}, "hold", "--for", "1h")
	wantLeftovers(t, state, 0)
	thaw = disk.freeze(t)
	hold = frozen("hold")
	unhold := frozen("unhold")
	a.wantCommand(t, 0, []string{"HELD until ctwarden unhold", inMemory}, "status")
	thaw()
	<-hold.ended
	<-unhold.ended
	wantWords(t, unhold.output.String(), kept, "has not answered for 2s", "holds still, and nothing was released")
	if code := unhold.cmd.ProcessState.ExitCode(); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if !there(kept) || !there(inMemory) {
		t.Errorf("after the thaw: on disk %v, in memory %v, want both", there(kept), there(inMemory))
	}
	wantLeftovers(t, state, 1)

	// The agent tidies up, and moves the hold without end to the disk, in the place of the one for an hour.
	a.start(t)
	testhost.Eventually(t, "the hold is on the disk", func() bool {
		s := a.status(t)
		if s.Held == nil || !s.Held.Until.IsZero() {
			t.Fatalf("%+v, want a hold without end at any moment", s.Held)
		}
		return s.Held.File == kept && !there(inMemory)
	})
	wantLeftovers(t, state, 0)
	a.wantCommand(t, 0, []string{"released"}, "unhold")
	if there(kept) || there(inMemory) {
		t.Errorf("released: on disk %v, in memory %v, want neither", there(kept), there(inMemory))
	}
}

// wantLeftovers counts the files of a hold that never got its name.
func wantLeftovers(t *testing.T, dir string, want int) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, ".hold*"))
	if err != nil || len(found) != want {
		t.Errorf("leftovers %v, %v; want %d", found, err, want)
	}
}
