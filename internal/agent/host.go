package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// errStopped says that the agent has ended and answers no more.
var errStopped = errors.New("the agent is stopping")

// kernelRelease returns the kernel's release.
func kernelRelease(root string) string {
	b, err := os.ReadFile(filepath.Join(root, "proc/sys/kernel/osrelease"))
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

// MachineID is the machine's identity for the header of the persisted file; empty where it has none.
func MachineID(root string) string {
	b, err := os.ReadFile(filepath.Join(root, "etc/machine-id"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// bootTime is when the kernel's clock of log records stood at zero. It stands still while the machine is suspended.
func bootTime(now time.Time) (time.Time, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return time.Time{}, fmt.Errorf("read the monotonic clock: %w", err)
	}
	return now.Add(-time.Duration(ts.Nano())), nil
}
