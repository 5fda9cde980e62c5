package testvm

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// module is this module's path.
const module = "github.com/ctwarden/ctwarden/"

// guestInit is the guest's first process: a shell on the second serial line, which the test types into. The machine goes
// off when that ends.
const guestInit = `#!/bin/busybox sh
/bin/busybox --install -s /bin 2>/dev/null
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mkdir -p /run/lock
ip link set lo up
dmesg -n 1
stty -F /dev/ttyS1 raw -echo
{ echo guest ready >/dev/console; sh 2>&1; } </dev/ttyS1 | cat >/dev/ttyS1
poweroff -f
`

// Contents is what a guest is made of.
type Contents struct {
	Kernel Kernel
	// Modules are names of modules that the guest can load, beside those that they need. One that the kernel has not got
	// is taken to be built in.
	Modules []string
	// Programs are programs of this host, names in PATH or paths, which the guest has in /bin with the libraries that they
	// are linked to. BusyBox's and kmod's are there in any case.
	Programs []string
	// Files are other files: the path below the root, and the text.
	Files map[string]string
}

// Image is a kernel with its initial RAM disk, which is all that a guest has.
type Image struct{ kernel, initrd string }

// NewImage makes one.
func NewImage(t *testing.T, c Contents) Image {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	for _, dir := range []string{"bin", "dev", "proc", "sys", "run", "tmp", "root", "etc", "var/lib"} {
		makeDir(t, filepath.Join(root, dir))
	}
	copyModules(t, c.Kernel, c.Modules, filepath.Join(root, "lib/modules", c.Kernel.Release))
	output(t, "depmod", "-b", root, c.Kernel.Release)
	for _, program := range append([]string{"busybox", "kmod"}, c.Programs...) {
		copyProgram(t, program, root)
	}
	// The kernel itself starts /sbin/modprobe, where a rule of a firewall needs a module.
	for name, to := range map[string]string{"sbin": "bin", "bin/modprobe": "kmod", "bin/lsmod": "kmod"} {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for path, text := range c.Files {
		write(t, filepath.Join(root, path), text, 0o644)
	}
	write(t, filepath.Join(root, "init"), guestInit, 0o755)
	image := Image{kernel: c.Kernel.boot, initrd: root + ".cpio"}
	pack(t, root, image.initrd)
	return image
}

// With is the image with what [Machine.Archive] has taken out of a guest: as if it had a disk.
func (i Image) With(t *testing.T, archive []byte) Image {
	t.Helper()
	to, err := os.Create(filepath.Join(t.TempDir(), "initrd.cpio"))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	from, err := os.Open(i.initrd)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	// The kernel unpacks one archive after the other.
	if _, err := io.Copy(to, io.MultiReader(from, bytes.NewReader(archive))); err != nil {
		t.Fatal(err)
	}
	i.initrd = to.Name()
	return i
}

// Build builds programs of this module, named by their folders, such that they need no library, and returns their paths.
func Build(t *testing.T, folders ...string) []string {
	t.Helper()
	dir := t.TempDir()
	args, paths := []string{"build", "-o", dir + "/"}, []string(nil)
	for _, folder := range folders {
		args, paths = append(args, module+folder), append(paths, filepath.Join(dir, filepath.Base(folder)))
	}
	build := exec.Command("go", args...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return paths
}

// copyProgram copies a program and the libraries that it is linked to.
func copyProgram(t *testing.T, program, root string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, path, filepath.Join(root, "bin", filepath.Base(path)))
	libraries, _ := exec.Command("ldd", path).Output() // fails for a static one
	for _, lib := range regexp.MustCompile(`/\S+`).FindAllString(string(libraries), -1) {
		if !strings.HasPrefix(lib, path) {
			copyFile(t, lib, filepath.Join(root, lib))
		}
	}
}

// pack makes an initial RAM disk of a directory. Unpacking a compressed one takes an emulated processor longer.
func pack(t *testing.T, root, to string) {
	t.Helper()
	file, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cpio := exec.Command("sh", "-c", "find . | busybox cpio -o -H newc")
	var stderr bytes.Buffer
	cpio.Dir, cpio.Stdout, cpio.Stderr = root, file, &stderr
	if err := cpio.Run(); err != nil {
		t.Fatalf("cpio: %v: %s", err, &stderr)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(text), 0o755)
}

// write writes a file, and its directory where that is missing.
func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	makeDir(t, filepath.Dir(path))
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func makeDir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

// output runs a program and returns what it printed.
func output(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, &stderr))
	}
	return string(out)
}
