package installed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// mirrors are asked one after the other: Debian moves old suites to the second. CTWARDEN_MIRROR names others, as it does for
// scripts/sysroot.sh.
func mirrors() []string {
	if own := strings.Fields(os.Getenv("CTWARDEN_MIRROR")); len(own) > 0 {
		return own
	}
	return []string{"http://deb.debian.org/debian", "http://archive.debian.org/debian"}
}

// suites are the Debians that the packages are tried on, with what a root of each has besides the minimum. All of them
// boot. Bookworm's is a whole system; it has rpm too, for the packages of the other family, and Ansible, for the role
// (debootstrap does not look for packages by what they provide, so that python3-cffi-backend is named).
var suites = map[string]string{
	"bullseye": "systemd,systemd-sysv",
	"bookworm": "systemd,systemd-sysv,dbus,udev,kmod,procps,iproute2,rsyslog,logrotate,rpm,python3-apt,python3-cffi-backend,ansible-core",
	"trixie":   "systemd,systemd-sysv",
}

// recipe is to be raised when what is done to a root after debootstrap changes.
const recipe = "2"

// need skips the test, or fails it where nothing may be skipped, where this host cannot do it.
func need(t *testing.T, programs ...string) {
	t.Helper()
	testhost.NeedRoot(t)
	for _, name := range append([]string{"unshare", "nsenter", "chroot", "mount"}, programs...) {
		if _, err := exec.LookPath(name); err != nil {
			testhost.Skip(t, fmt.Sprintf("needs %s: run scripts/setup.sh e2e as root (%v)", name, err))
		}
	}
	// What a container without the right to mount, or a kernel without overlayfs, lacks.
	const try = `d=$(mktemp -d) && mount -t tmpfs none "$d" && mkdir "$d/l" "$d/u" "$d/w" "$d/m" &&
		mount -t overlay -o "lowerdir=$d/l,upperdir=$d/u,workdir=$d/w" none "$d/m"; s=$?
		umount "$d/m" 2>/dev/null; umount "$d"; rmdir "$d"; exit $s`
	if out, err := exec.Command("unshare", "--mount", "sh", "-c", try).CombinedOutput(); err != nil {
		testhost.Skip(t, fmt.Sprintf("needs to mount an overlay in a mount namespace of its own: %v: %s", err, out))
	}
}

// cachedRoot is the directory of a suite's root, which nobody changes; it is made where it is not there yet.
func cachedRoot(t *testing.T, suite string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache = filepath.Join(cache, "ctwarden", "roots")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	unlock := lockFile(t, filepath.Join(cache, suite+".lock"))
	defer unlock()
	root := filepath.Join(cache, suite)
	want := suite + " " + suites[suite] + " " + recipe + "\n"
	if got, err := os.ReadFile(root + ".made"); err == nil && string(got) == want {
		return root
	}
	need(t, "debootstrap")
	start := time.Now()
	if err := errors.Join(removeRoot(root), removeRoot(root+".part"), bootstrap(suite, root+".part")); err != nil {
		testhost.Skip(t, fmt.Sprintf("needs Debian's %s: %v", suite, err))
	}
	if err := errors.Join(os.Rename(root+".part", root), os.WriteFile(root+".made", []byte(want), 0o644)); err != nil {
		t.Fatal(err)
	}
	t.Logf("made %s in %v", root, time.Since(start).Round(time.Second))
	return root
}

// removeRoot removes a root that is not the right one, unless something is still mounted there.
func removeRoot(root string) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	if strings.Contains(string(mounts), " "+root+"/") {
		return fmt.Errorf("something is mounted below %s", root)
	}
	return errors.Join(os.RemoveAll(root), ignoreMissing(os.Remove(root+".made")))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// makeRoot runs debootstrap, and then asks dpkg and apt whether all that it unpacked is there and set up. It is run in a
// mount namespace, so that one that is killed leaves nothing mounted. dpkg does not wait for the disk at each file, but
// all is there at the end.
const makeRoot = `dir=$1; shift
DPKG_FORCE=unsafe-io debootstrap "$@" || exit
mount -t proc proc "$dir/proc"
chroot "$dir" sh -c 'dpkg --audit; test -z "$(dpkg --audit)" && apt-get -qq check' && sync -f "$dir"`

// bootstrap makes a root from the first mirror that has the suite.
func bootstrap(suite, dir string) error {
	args := []string{"--mount", "sh", "-c", makeRoot, "sh", dir, "--variant=minbase"}
	if extra := suites[suite]; extra != "" {
		args = append(args, "--include="+extra)
	}
	var tried error
	for _, mirror := range mirrors() {
		out, err := exec.Command("unshare", append(args, suite, dir, mirror)...).CombinedOutput()
		if err == nil {
			return prepare(dir)
		}
		// debootstrap keeps what dpkg said to itself.
		log, _ := os.ReadFile(filepath.Join(dir, "debootstrap/debootstrap.log"))
		err = fmt.Errorf("debootstrap from %s: %w: %s\n%s", mirror, err, tail(string(out), 2000), tail(string(log), 4000))
		tried = errors.Join(tried, err)
		if removeErr := os.RemoveAll(dir); removeErr != nil {
			return errors.Join(tried, removeErr)
		}
	}
	return tried
}

// prepare takes out what must not be the same in two machines, and what only takes room.
func prepare(dir string) error {
	debs, err := filepath.Glob(dir + "/var/cache/apt/archives/*.deb")
	for _, deb := range debs {
		err = errors.Join(err, os.Remove(deb))
	}
	return errors.Join(err, os.WriteFile(dir+"/etc/machine-id", nil, 0o444))
}

// lockFile waits for a lock that goes with the process.
func lockFile(t *testing.T, path string) (unlock func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatalf("lock %s: %v", path, err)
	}
	return func() { f.Close() }
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }
