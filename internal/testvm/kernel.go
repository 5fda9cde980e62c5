package testvm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/renameio/v2"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// renewAfter is how old a suite's kernel may be before it is asked whether there is a newer one.
const renewAfter = 30 * 24 * time.Hour

// Kernel is a kernel out of Debian's packages.
type Kernel struct {
	// Release is what uname -r says.
	Release string
	boot    string // the file that is booted
	modules string // the directory of its modules
}

// DebianKernel is the newest kernel for virtual machines of a suite. What is downloaded is kept in the user's cache for
// a month at least, and longer where there is no network. The test is skipped where there is neither.
func DebianKernel(t *testing.T, suite string) Kernel {
	t.Helper()
	for _, name := range []string{
		"qemu-system-x86_64", "busybox", "kmod", "modinfo", "depmod", "ldd", "xz", "zstd", "apt-get", "apt-cache", "dpkg-deb",
	} {
		if _, err := exec.LookPath(name); err != nil {
			testhost.Skip(t, "needs "+name+": run scripts/setup.sh e2e-kernels as root")
		}
	}
	tree := t.TempDir()
	for _, deb := range packages(t, suite) {
		output(t, "dpkg-deb", "-x", deb, tree)
	}
	k, err := unpacked(tree)
	if err != nil {
		t.Fatalf("the packages of %s: %v", suite, err)
	}
	return k
}

// unpacked is the kernel that packages were unpacked to. Before trixie the modules are below /lib, and later the kernel lies
// beside them instead of in /boot.
func unpacked(tree string) (Kernel, error) {
	modules, err := oneOf(tree, "lib/modules/*", "usr/lib/modules/*")
	if err != nil {
		return Kernel{}, err
	}
	k := Kernel{Release: filepath.Base(modules), modules: modules}
	k.boot, err = oneOf(tree, "boot/vmlinuz-"+k.Release, "usr/lib/modules/"+k.Release+"/vmlinuz")
	return k, err
}

// oneOf finds the one file below tree that some patterns match.
func oneOf(tree string, patterns ...string) (string, error) {
	var found []string
	for _, pattern := range patterns {
		paths, err := filepath.Glob(filepath.Join(tree, pattern))
		if err != nil {
			return "", err
		}
		found = append(found, paths...)
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%q, want one of %s", found, strings.Join(patterns, " and "))
	}
	return found[0], nil
}

// packages are the files of the packages of a suite's kernel.
func packages(t *testing.T, suite string) []string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = t.TempDir()
	}
	dir = filepath.Join(dir, "ctwarden", "kernels")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	kept, age, err := readKept(dir, suite)
	if err != nil {
		t.Fatal(err)
	}
	names := kept
	if kept == nil || age > renewAfter {
		names, err = download(suite, dir)
		switch {
		case err == nil:
			err = keep(dir, suite, names, kept)
		case kept != nil:
			t.Logf("%s: the kernel of %v ago is used: %v", suite, age.Round(time.Hour), err)
			names, err = kept, nil
		default:
			testhost.Skip(t, fmt.Sprintf("needs %s of Debian %s: %v", metaPackage, suite, err))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = filepath.Join(dir, name)
	}
	return paths
}

// listOf is the file that names a suite's packages. It is written last.
func listOf(dir, suite string) string { return filepath.Join(dir, suite+".list") }

// readKept returns the names of the packages that were downloaded, and how long ago that was; none where one is missing.
func readKept(dir, suite string) ([]string, time.Duration, error) {
	text, err := os.ReadFile(listOf(dir, suite))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	fi, err := os.Stat(listOf(dir, suite))
	if err != nil {
		return nil, 0, err
	}
	names := strings.Fields(string(text))
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return nil, 0, nil
		}
	}
	return names, time.Since(fi.ModTime()), nil
}

// keep writes the names of the packages down, and removes those that they take the place of.
func keep(dir, suite string, names, old []string) error {
	if err := renameio.WriteFile(listOf(dir, suite), []byte(strings.Join(names, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	for _, name := range old {
		if !slices.Contains(names, name) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}
