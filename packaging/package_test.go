package packaging

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// packagesEnv names the directory with the packages that make packages has built.
const packagesEnv = "CTWARDEN_PACKAGES"

// pkg is one built package, as it would be installed.
type pkg struct {
	path    string // of the file
	name    string
	format  string // deb or rpm
	arch    string // as Go names it
	version string
	files   map[string]file   // by absolute path
	scripts map[string]string // by the names that dpkg has for them
	needs   []string          // other packages or what they provide
	config  []string          // files that are kept when they were changed
}

// file is a file of a package.
type file struct {
	mode         fs.FileMode // type and permissions
	owner, group string
	body         []byte
}

// packagesDir is the directory with the packages; without one the test is skipped.
func packagesDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv(packagesEnv)
	if dir == "" {
		t.Skip(packagesEnv + " is not set: make packages-check runs this test on the packages that it has built")
	}
	return dir
}

// checks are what every package is held to.
var checks = []struct {
	name  string
	check func(t *testing.T, p pkg)
}{
	{"contents", checkContents}, {"directories", checkDirectories}, {"config is kept", checkConfig}, {"scripts", checkScripts},
	{"needs", checkNeeds}, {"program", checkProgram}, {"version", checkVersion}, {"bill of materials", checkSBOM},
}

// TestPackages reads each of the eight packages once and holds it to all checks.
func TestPackages(t *testing.T) {
	dir := packagesDir(t)
	machines := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}
	for _, name := range []string{"ctwarden", "ctwarden-hub"} {
		for arch, machine := range machines {
			t.Run(name+" "+arch+" deb", func(t *testing.T) { checkAll(t, readDeb(t, only(t, dir, name+"_*_"+arch+".deb"), arch)) })
			t.Run(name+" "+arch+" rpm", func(t *testing.T) { checkAll(t, readRPM(t, only(t, dir, name+"-[0-9]*."+machine+".rpm"), arch)) })
		}
	}
}

func checkAll(t *testing.T, p pkg) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.check(t, p) })
	}
}

// only is the one file that a pattern matches.
func only(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s in %s: %v, %v; want one file", pattern, dir, found, err)
	}
	return found[0]
}

// program is the package's program, written to a file of its own.
func (p pkg) program(t *testing.T) string {
	t.Helper()
	f, ok := p.files["/usr/bin/"+p.name]
	if !ok {
		t.Fatalf("no /usr/bin/%s", p.name)
	}
	path := filepath.Join(t.TempDir(), p.name)
	if err := os.WriteFile(path, f.body, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// listed are the lines of a text that are not empty.
func listed(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return all
}
