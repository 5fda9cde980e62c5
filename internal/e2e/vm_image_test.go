package e2e

import (
	"compress/gzip"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// guestModules are what the guest's kernel needs to track connections, in the order in which they are loaded. A kernel
// may have one of them built in.
var guestModules = []string{
	"libcrc32c", "nf_defrag_ipv4", "nf_defrag_ipv6", "nf_conntrack", "nfnetlink", "nf_conntrack_netlink", "nf_tables", "nft_ct",
	"veth",
}

// guestConfig has every time so short that the test need not wait for long, and a budget and a pause of which a jump of
// the clock could make too much or too little. A host that expects few new connections reads its table once a second, so that
// a burst is refused before a step is taken.
const guestConfig = `
mode: remediate
incident: {close_after: 6s, pressure: 0.97}
remediate:
  ceiling: 400000
  max_insert_rate: 200
  step: 1.5
  max_step: 1.5
  memory_share: 0.5
  steps_per_hour: 5
  foreign_pause: 14s
  persist_file: /etc/sysctl.d/99-zz-ctwarden.conf
sources: {lookback: 0s, kmsg: {enabled: true}, journal: {enabled: false}, syslog: {enabled: false}}
metrics: {listen: ""}
state_dir: /var/lib/ctwarden
runtime_dir: /run/ctwarden
`

// guestInit is the guest's first process: a shell on the second serial line, which the test types into. The machine goes
// off when that ends.
const guestInit = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mkdir -p /run/lock
ip link set lo up
for m in %s; do
    [ ! -e /lib/modules/$m.ko ] || insmod /lib/modules/$m.ko
done
dmesg -n 1
stty -F /dev/ttyS1 raw -echo
{ echo guest ready >/dev/console; sh 2>&1; } </dev/ttyS1 | cat >/dev/ttyS1
poweroff -f
`

// guestImage is a kernel with its initial RAM disk.
type guestImage struct{ kernel, initrd string }

// newGuestImage makes one out of Debian's kernel for virtual machines and this module's own programs.
func newGuestImage(t *testing.T) guestImage {
	t.Helper()
	for _, name := range []string{"qemu-system-x86_64", "busybox", "nft", "ip", "ldd", "xz", "apt-get", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(name); err != nil {
			testhost.Skip(t, "needs "+name+" on a Debian: run scripts/setup.sh torture-long as root")
		}
	}
	dir := t.TempDir()
	unpacked := filepath.Join(dir, "kernel")
	output(t, "dpkg-deb", "-x", guestKernel(t), unpacked)
	kernels, err := filepath.Glob(unpacked + "/boot/vmlinuz-*")
	if err != nil || len(kernels) != 1 {
		t.Fatalf("kernels in the package: %v, %v", kernels, err)
	}
	root := filepath.Join(dir, "root")
	for _, d := range []string{"bin", "dev", "proc", "sys", "run", "tmp", "etc/sysctl.d", "lib/modules", "var/lib"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	copyModules(t, unpacked, filepath.Join(root, "lib/modules"))
	for _, name := range []string{"busybox", "nft", "ip"} {
		copyProgram(t, name, root)
	}
	build := exec.Command("go", "build", "-o", root+"/bin/", "../../cmd/ctwarden", "../../testdata/flood")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	write(t, filepath.Join(root, "etc/ctwarden.yaml"), guestConfig)
	write(t, filepath.Join(root, "init"), fmt.Sprintf(guestInit, strings.Join(guestModules, " ")))
	return guestImage{kernel: kernels[0], initrd: pack(t, root, filepath.Join(dir, "initrd.gz"))}
}

// guestKernel is the package of the newest such kernel of this host's Debian, kept in the user's cache.
func guestKernel(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	cache = filepath.Join(cache, "ctwarden-test")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	depends, err := exec.Command("apt-cache", "depends", "linux-image-cloud-amd64").Output()
	name := regexp.MustCompile(`Depends: (linux-image-\S+)`).FindSubmatch(depends)
	if err != nil || name == nil {
		testhost.Skip(t, "needs Debian's package linux-image-cloud-amd64: run apt-get update")
	}
	kept := filepath.Join(cache, string(name[1])+"_*.deb")
	if found, _ := filepath.Glob(kept); len(found) > 0 {
		return found[len(found)-1]
	}
	partly, err := os.MkdirTemp(cache, "download-") // what is cut short is not to be taken for the whole
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(partly)
	download := exec.Command("apt-get", "-o", "APT::Sandbox::User=root", "download", string(name[1]))
	download.Dir = partly
	if out, err := download.CombinedOutput(); err != nil {
		testhost.Skip(t, fmt.Sprintf("needs %s from Debian: apt-get download: %v: %s", name[1], err, out))
	}
	found, err := filepath.Glob(filepath.Join(partly, "*.deb"))
	if err != nil || len(found) != 1 {
		t.Fatalf("apt-get download left %v, %v", found, err)
	}
	whole := filepath.Join(cache, filepath.Base(found[0]))
	if err := os.Rename(found[0], whole); err != nil {
		t.Fatal(err)
	}
	return whole
}

// copyModules copies the modules out of an unpacked kernel, those that some releases compress as plain ones.
func copyModules(t *testing.T, unpacked, to string) {
	t.Helper()
	err := filepath.WalkDir(unpacked, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		for _, m := range guestModules {
			switch d.Name() {
			case m + ".ko":
				copyFile(t, path, filepath.Join(to, d.Name()))
			case m + ".ko.xz":
				write(t, filepath.Join(to, m+".ko"), output(t, "xz", "-dc", path))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(to, "nf_conntrack.ko")); err != nil {
		t.Fatal(err)
	}
}

// copyProgram copies a program and the libraries that it is linked to.
func copyProgram(t *testing.T, name, root string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, path, filepath.Join(root, "bin", name))
	libraries, _ := exec.Command("ldd", path).Output() // fails for a static one
	for _, lib := range regexp.MustCompile(`/\S+`).FindAllString(string(libraries), -1) {
		if strings.HasPrefix(lib, path) {
			continue
		}
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(lib)), 0o755); err != nil {
			t.Fatal(err)
		}
		copyFile(t, lib, filepath.Join(root, lib))
	}
}

// pack makes an initial RAM disk of a directory.
func pack(t *testing.T, root, to string) string {
	t.Helper()
	file, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	packed, err := gzip.NewWriterLevel(file, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	cpio := exec.Command("sh", "-c", "find . | busybox cpio -o -H newc")
	cpio.Dir, cpio.Stdout = root, packed
	if err := cpio.Run(); err != nil {
		t.Fatalf("cpio: %v", err)
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	return to
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(text))
}

// write writes a file that may be run.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func output(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).Output()
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}
