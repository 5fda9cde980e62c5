package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// throttle is a control group whose programs read or write a disk slowly.
type throttle struct {
	dir, device string
	reads       ioBound
	writes      ioBound
}

// ioBound is how the kernel is told so many bytes a second; none is the word for no bound.
type ioBound struct{ file, form, none string }

// newThrottle makes one for a disk, of version 1 or 2 of control groups, whichever has its hands on block devices.
func newThrottle(t *testing.T, d *scratchDisk) *throttle {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(d.run(t, "findmnt", "-n", "-o", "SOURCE", d.dir), &st); err != nil {
		t.Fatal(err)
	}
	q := &throttle{device: fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))}
	root := ""
	if root = mounted(t, "cgroup", "blkio"); root != "" {
		q.reads = ioBound{"blkio.throttle.read_bps_device", "%s %s", "0"}
		q.writes = ioBound{"blkio.throttle.write_bps_device", "%s %s", "0"}
	} else if root = mounted(t, "cgroup2", ""); root != "" {
		q.reads, q.writes = ioBound{"io.max", "%s rbps=%s", "max"}, ioBound{"io.max", "%s wbps=%s", "max"}
		if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+io"), 0); err != nil {
			testhost.Skip(t, "control groups without io: "+err.Error())
		}
	} else {
		testhost.Skip(t, "no control groups are mounted")
	}
	q.dir = filepath.Join(root, fmt.Sprintf("ctwarden-e2e-%d", os.Getpid()))
	if err := os.Mkdir(q.dir, 0o755); err != nil {
		testhost.Skip(t, "make a control group: "+err.Error())
	}
	t.Cleanup(func() {
		if err := os.Remove(q.dir); err != nil {
			t.Error(err)
		}
	})
	if _, err := os.Stat(filepath.Join(q.dir, q.reads.file)); err != nil {
		testhost.Skip(t, "this kernel cannot slow a disk down: "+err.Error())
	}
	return q
}

// mounted is where a hierarchy of control groups is mounted; with a controller, where it is of that.
func mounted(t *testing.T, fs, controller string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if f[2] == fs && (controller == "" || slices.Contains(strings.Split(f[3], ","), controller)) {
			return f[1]
		}
	}
	return ""
}

// to sets how many bytes a second are read; empty: as many as the disk gives.
func (q *throttle) to(t *testing.T, rate string) { t.Helper(); q.set(t, q.reads, rate) }

// writesTo sets how many bytes a second are written; empty: as many as the disk takes.
func (q *throttle) writesTo(t *testing.T, rate string) { t.Helper(); q.set(t, q.writes, rate) }

func (q *throttle) set(t *testing.T, b ioBound, rate string) {
	t.Helper()
	if rate == "" {
		rate = b.none
	}
	if err := os.WriteFile(filepath.Join(q.dir, b.file), []byte(fmt.Sprintf(b.form, q.device, rate)), 0); err != nil {
		t.Fatal(err)
	}
}

// wrap has a program run in it.
func (q *throttle) wrap() []string {
	return []string{"sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$@"`, q.dir}
}

// cold mounts the disk anew, so that nothing of it is in memory.
func (d *scratchDisk) cold(t *testing.T) {
	t.Helper()
	d.run(t, "umount", d.dir)
	d.run(t, "mount", "-o", "loop,errors=remount-ro", d.image, d.dir)
}
