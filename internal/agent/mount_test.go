package agent

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// bindMount mounts a directory on itself, and returns what makes that mount read-only, or writable again.
func bindMount(t *testing.T, dir string) (remount func(readOnly bool)) {
	t.Helper()
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		testhost.Skip(t, "mount a directory on itself: "+err.Error())
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return func(readOnly bool) {
		flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND)
		if readOnly {
			flags |= unix.MS_RDONLY
		}
		testhost.Eventually(t, "remounted", func() bool { return unix.Mount("", dir, "", flags, "") == nil })
	}
}
