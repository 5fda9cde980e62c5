package installed

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// The directories of the packages, which make e2e fills.
const (
	packagesEnv = "CTWARDEN_PACKAGES"
	olderEnv    = "CTWARDEN_PACKAGES_OLD"
)

// packages is a directory of built packages.
type packages string

// built are the packages under test. Without them the test is skipped whatever else is required: it is for make e2e.
func built(t *testing.T) packages {
	t.Helper()
	return from(t, packagesEnv)
}

// older are packages of an older version.
func older(t *testing.T) packages {
	t.Helper()
	return from(t, olderEnv)
}

func from(t *testing.T, env string) packages {
	t.Helper()
	dir := os.Getenv(env)
	if dir == "" {
		t.Skipf("%s names no directory of packages: run make e2e as root", env)
	}
	return packages(dir)
}

// deb is the file of a package for this machine.
func (p packages) deb(t *testing.T, name string) string {
	t.Helper()
	return p.only(t, name+"_*_"+runtime.GOARCH+".deb")
}

// rpm is the same for rpm.
func (p packages) rpm(t *testing.T, name string) string {
	t.Helper()
	machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	return p.only(t, name+"-[0-9]*-1."+machine+".rpm")
}

func (p packages) only(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(string(p), pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s in %s: %v (%v), want one", pattern, p, found, err)
	}
	return found[0]
}

// field is what a .deb says of itself, such as its Version.
func field(t *testing.T, deb, name string) string {
	t.Helper()
	return strings.TrimSpace(output(t, exec.Command("dpkg-deb", "--field", deb, name)))
}

// output runs a command of this host's to its end and returns what it wrote.
func output(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
