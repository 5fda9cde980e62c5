package testhost

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Sysctl has the real programs that apply sysctl.d files, to be run on scratch roots.
type Sysctl struct {
	base            string // where the programs and their libraries are
	loader          string // the dynamic linker below base, as all paths here
	systemd, procps string
	libraries       []string
}

// SysctlRun is one run of a program.
type SysctlRun struct {
	// Root is the scratch root, with the files to apply.
	Root string
	// Systemd is true for systemd-sysctl, false for "sysctl --system".
	Systemd bool
	// Prefix is systemd-sysctl's --prefix, with which udev's rules run it; empty: all settings.
	Prefix string
	// Namespace gives the run a network namespace of its own.
	Namespace bool
	// Prepare is run by a shell beforehand, in the namespaces of the run.
	Prepare string
	// Keys are the files below /proc/sys to look at before and after.
	Keys []string
}

// NewSysctl finds the programs of the system below base, "/" for this machine. It skips the test where one is missing.
func NewSysctl(t testing.TB, base string) *Sysctl {
	t.Helper()
	NeedRoot(t)
	s := &Sysctl{base: base}
	// In /lib64 it may be an absolute link, which leads nowhere from within the run.
	s.loader = s.first("usr/lib/*-linux-gnu*/ld-linux-*.so.*", "lib/*-linux-gnu*/ld-linux-*.so.*", "lib64/ld-linux-*.so.*")
	s.systemd = s.first("usr/lib/systemd/systemd-sysctl", "lib/systemd/systemd-sysctl")
	s.procps = s.first("usr/sbin/sysctl", "sbin/sysctl")
	for what, found := range map[string]string{"dynamic linker": s.loader, "systemd-sysctl": s.systemd, "sysctl": s.procps} {
		if found == "" {
			Skip(t, "no "+what+" below "+base)
		}
	}
	for _, pattern := range []string{"lib64", "usr/lib64", "lib/*-linux-gnu*", "usr/lib/*-linux-gnu*", "lib/systemd", "usr/lib/systemd", "usr/lib/*-linux-gnu*/systemd"} {
		s.libraries = append(s.libraries, s.all(pattern)...)
	}
	return s
}

// all lists what is below base, as absolute paths there.
func (s *Sysctl) all(pattern string) (out []string) {
	found, _ := filepath.Glob(filepath.Join(s.base, pattern)) // the only error is a bad pattern
	for _, name := range found {
		out = append(out, "/"+strings.TrimPrefix(strings.TrimPrefix(name, s.base), "/"))
	}
	return out
}

func (s *Sysctl) first(patterns ...string) string {
	for _, pattern := range patterns {
		if found := s.all(pattern); len(found) > 0 {
			return found[0]
		}
	}
	return ""
}

// Run has a program apply the tree below a root, in a mount namespace of its own. It gives the program's output and the
// values before and after.
func (s *Sysctl) Run(t testing.TB, r SysctlRun) (output string, before, after []string) {
	t.Helper()
	const programs = "/programs"
	for _, dir := range []string{"proc", "dev", programs} {
		if err := os.MkdirAll(filepath.Join(r.Root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(r.Root, "dev/null"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var libraries, keys []string
	for _, dir := range s.libraries {
		libraries = append(libraries, programs+dir)
	}
	for _, key := range r.Keys {
		keys = append(keys, "/proc/sys/"+key)
	}
	const script = `mount --bind "$2" "$1/programs"; mount -t proc proc "$1/proc"; mount --bind /dev/null "$1/dev/null"
root=$1 ld=$3 libraries=$4 prepare=$5 cmd=$6; shift 6
run() { chroot "$root" "$ld" --library-path "$libraries" "$@"; }
look() { for key; do cat "$key"; done; }
eval "$prepare"
look "$@"; echo ---; run $cmd 2>&1 || true; echo ---; look "$@"`
	args := []string{"-m"}
	if r.Namespace {
		args = append(args, "-n")
	}
	program := programs + s.procps + " --system"
	if r.Systemd {
		program = programs + s.systemd
	}
	if r.Prefix != "" {
		program += " --prefix=" + r.Prefix
	}
	args = append(args, "sh", "-ec", script, "sh", r.Root, s.base, programs+s.loader, strings.Join(libraries, ":"), r.Prepare, program)
	cmd := exec.Command("unshare", append(args, keys...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "SYSTEMD_LOG_LEVEL=debug", "SYSTEMD_LOG_TARGET=console"}
	out, err := cmd.CombinedOutput()
	part := strings.Split(string(out), "---\n")
	if err != nil || len(part) != 3 {
		Skip(t, fmt.Sprintf("cannot run the programs in a namespace: %v\n%s", err, out))
	}
	if strings.Contains(part[1], "failed to run command") {
		t.Fatal(part[1])
	}
	return part[1], strings.Fields(part[0]), strings.Fields(part[2])
}
