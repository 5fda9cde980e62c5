package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// scratchDisk is a file system of the test's own for a state_dir: ext4 in an image, on a loop device. The image has holes
// and lies in a tmpfs of its own, so that the device cannot write any more once that is full.
type scratchDisk struct {
	dir, image string
}

// newScratchDisk mounts a small one at dir, which is made.
func newScratchDisk(t *testing.T, dir string) *scratchDisk {
	t.Helper()
	return newScratchDiskOf(t, dir, 8)
}

// newScratchDiskOf mounts one of a size in MiB.
func newScratchDiskOf(t *testing.T, dir string, size int64) *scratchDisk {
	t.Helper()
	testhost.NeedRoot(t)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	under := t.TempDir()
	if err := unix.Mount("tmpfs", under, "tmpfs", 0, fmt.Sprintf("size=%dm", 2*size)); err != nil {
		testhost.Skip(t, "mount a tmpfs: "+err.Error())
	}
	d := &scratchDisk{dir: dir, image: filepath.Join(under, "image")}
	t.Cleanup(func() { _ = unix.Unmount(under, unix.MNT_DETACH) })
	writeFile(t, d.image, "", 0o600)
	if err := os.Truncate(d.image, size<<20); err != nil {
		t.Fatal(err)
	}
	d.run(t, "mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", d.image)
	if out, err := exec.Command("mount", "-o", "loop,errors=remount-ro", d.image, dir).CombinedOutput(); err != nil {
		testhost.Skip(t, fmt.Sprintf("mount an image: %v: %s", err, out))
	}
	t.Cleanup(func() { d.unmount(t) })
	return d
}

// unmount takes it away, also where somebody still has a file of it open.
func (d *scratchDisk) unmount(t *testing.T) {
	t.Helper()
	for unix.Unmount(d.dir, unix.MNT_DETACH) == nil {
	}
}

func (d *scratchDisk) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// fill takes all room of a directory's file system, and returns what gives it back.
func fillUp(t *testing.T, dir string) (free func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, chunk := range []int{1 << 16, 1 << 10} {
		for {
			if _, err := f.Write(make([]byte, chunk)); err != nil {
				break
			}
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(f.Name()); err != nil {
			t.Fatal(err)
		}
	}
}

// freeze has every write wait until thaw. Should the test's process die meanwhile, it thaws by itself: what waits for a
// frozen file system cannot be killed.
func (d *scratchDisk) freeze(t *testing.T) (thaw func()) {
	t.Helper()
	guard := exec.Command("sh", "-c", `cat >/dev/null; fsfreeze -u "$1"`, "sh", d.dir)
	hold, err := guard.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := guard.Start(); err != nil {
		t.Fatal(err)
	}
	thawed := false
	thaw = func() {
		if thawed {
			return
		}
		thawed = true
		hold.Close()
		if err := guard.Wait(); err != nil {
			t.Errorf("thaw: %v", err)
		}
	}
	t.Cleanup(thaw)
	d.run(t, "fsfreeze", "-f", d.dir)
	return thaw
}

// breakDown has the kernel find an error in the file system, after which it takes no more writes.
func (d *scratchDisk) breakDown(t *testing.T) {
	t.Helper()
	device := d.run(t, "findmnt", "-n", "-o", "SOURCE", d.dir)
	writeFile(t, filepath.Join("/sys/fs/ext4", filepath.Base(device), "trigger_fs_error"), "test", 0o200)
}

// replace repairs a copy of it and mounts that in its place.
func (d *scratchDisk) replace(t *testing.T) {
	t.Helper()
	d.unmount(t)
	from, err := os.Open(d.image)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	d.image += ".copy"
	to, err := os.Create(d.image)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("e2fsck", "-fy", d.image).CombinedOutput(); err != nil && !strings.Contains(string(out), "MODIFIED") {
		t.Fatalf("e2fsck: %v: %s", err, out)
	}
	d.run(t, "mount", "-o", "loop", d.image, d.dir)
}
