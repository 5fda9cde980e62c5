package sysctld

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/ctwarden/ctwarden/internal/confdir"
)

// Loader is a program that applies sysctl.d files.
type Loader int

// The loaders.
const (
	Systemd    Loader = iota // systemd-sysctl, at boot
	Procps                   // sysctl --system of procps 4, by hand or from an init script
	Procps3                  // sysctl --system of procps 3.3.17
	Procps316                // sysctl --system of procps up to 3.3.16, as on RHEL 8 and Ubuntu 20.04
	Systemd244               // systemd-sysctl up to 244, as on RHEL 8
)

// String is the command's name.
func (l Loader) String() string {
	if l.systemd() {
		return "systemd-sysctl"
	}
	return "sysctl --system"
}

func (l Loader) systemd() bool { return l == Systemd || l == Systemd244 }

// old tells whether it is a procps that applies each line as it reads it.
func (l Loader) old() bool { return l == Procps3 || l == Procps316 }

// Globs tells whether a pattern stands for all that it matches. To the others it is a key that there is not.
func (l Loader) Globs() bool { return l == Systemd || l == Procps }

// rank is the precedence of the directory at place dir of [Dirs], 0 the highest: procps up to 3.3.16 looks into /run first.
func (l Loader) rank(dir int) int {
	if l == Procps316 && dir <= 1 {
		return 1 - dir
	}
	return dir
}

// LoadersBelow are the two that are installed below the root: systemd's first, then procps'.
func LoadersBelow(r *os.Root) []Loader { return []Loader{SystemdBelow(r), ProcpsBelow(r)} }

// ProcpsBelow tells which procps is installed below the root, by its library, since no program is run: [Procps] where
// nothing tells of another.
func ProcpsBelow(r *os.Root) Loader {
	found := Procps
	for _, dir := range []string{"/usr/lib64", "/usr/lib", "/lib64", "/lib"} {
		for _, name := range libraries(r, dir) {
			switch {
			case strings.HasPrefix(name, "libproc2.so"):
				return Procps
			case strings.HasPrefix(name, "libprocps.so.8.0.3"): // 3.3.17's; with 4.0 it became libproc2
				found = Procps3
			case strings.HasPrefix(name, "libprocps.so") && found == Procps:
				found = Procps316
			}
		}
	}
	return found
}

// SystemdBelow tells which systemd is installed below the root, by its library: [Systemd] where nothing tells of another.
func SystemdBelow(r *os.Root) Loader {
	for _, dir := range []string{"/usr/lib/systemd", "/lib/systemd"} {
		for _, name := range libraries(r, dir) {
			var version int
			if _, err := fmt.Sscanf(name, "libsystemd-shared-%d", &version); err == nil && version <= 244 {
				return Systemd244
			}
		}
	}
	return Systemd
}

// libraries names what is in a directory of libraries, and in its directories for each machine type, as Debian has them.
func libraries(r *os.Root, dir string) []string {
	real, err := confdir.Resolve(r, dir)
	if err != nil {
		return nil
	}
	entries, err := fs.ReadDir(r.FS(), real)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
		if e.IsDir() && strings.Contains(e.Name(), "-linux-gnu") {
			out = append(out, libraries(r, path.Join(real, e.Name()))...)
		}
	}
	return out
}
