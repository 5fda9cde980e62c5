package testvm

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// MirrorEnv names another mirror of Debian's than the main one.
const MirrorEnv = "CTWARDEN_DEBIAN_MIRROR"

const (
	mainMirror = "http://deb.debian.org/debian"
	// keyring has the keys of all of Debian's releases that are looked after, also of those before this host's.
	keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	// metaPackage depends on the newest kernel for virtual machines of its suite.
	metaPackage = "linux-image-cloud-amd64"
)

// partOfKernel is a package that a kernel's consists of: newer releases have the modules in one of their own. What is not
// of one version is not part of the kernel.
var partOfKernel = regexp.MustCompile(`(?m)^ +Depends: (linux-(?:image|binary|modules|base)-[0-9]\S+)$`)

// apt is a state of apt's own, which knows one suite. Of this host's it uses how to reach the network, and changes nothing.
type apt struct{ dir string }

// newAPT makes one and fetches the suite's list of packages. Whoever makes it removes the directory.
func newAPT(suite string) (apt, error) {
	dir, err := os.MkdirTemp("", "ctw-apt-")
	if err != nil {
		return apt{}, err
	}
	a := apt{dir}
	source := fmt.Sprintf("deb [arch=amd64 signed-by=%s] %s %s main\n", keyring, cmp.Or(os.Getenv(MirrorEnv), mainMirror), suite)
	err = errors.Join(
		os.MkdirAll(filepath.Join(dir, "state/lists/partial"), 0o755),
		os.MkdirAll(filepath.Join(dir, "cache/archives/partial"), 0o755),
		os.WriteFile(filepath.Join(dir, "sources.list"), []byte(source), 0o644),
		os.WriteFile(filepath.Join(dir, "status"), nil, 0o644),
	)
	if err == nil {
		_, err = a.run(dir, "apt-get", "update")
	}
	if err != nil {
		return apt{}, errors.Join(err, a.remove())
	}
	return a, nil
}

func (a apt) remove() error { return os.RemoveAll(a.dir) }

// run runs one of apt's programs in a directory, on this state alone. What is not signed is refused, whatever this host
// is set to.
func (a apt) run(dir, program string, args ...string) (string, error) {
	var all []string
	for _, option := range []string{
		"Dir::Etc::SourceList=" + a.dir + "/sources.list", "Dir::Etc::SourceParts=/dev/null",
		"Dir::State=" + a.dir + "/state", "Dir::State::status=" + a.dir + "/status", "Dir::Cache=" + a.dir + "/cache",
		"APT::Architecture=amd64", "APT::Sandbox::User=root", "APT::Update::Error-Mode=any",
		"APT::Get::AllowUnauthenticated=false", "Acquire::AllowInsecureRepositories=false",
		"Acquire::Languages=none", "Acquire::Retries=3",
	} {
		all = append(all, "-o", option)
	}
	cmd := exec.Command(program, append(all, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return "", fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	return string(out), nil
}

// kernel names the packages that the suite's newest kernel for virtual machines consists of.
func (a apt) kernel() ([]string, error) {
	names := []string{metaPackage}
	for i := 0; i < len(names); i++ {
		depends, err := a.run(a.dir, "apt-cache", "depends", names[i])
		if err != nil {
			return nil, err
		}
		for _, m := range partOfKernel.FindAllStringSubmatch(depends, -1) {
			if !slices.Contains(names, m[1]) {
				names = append(names, m[1])
			}
		}
	}
	if len(names) == 1 {
		return nil, fmt.Errorf("%s depends on no kernel", metaPackage)
	}
	return names[1:], nil
}

// download fetches the packages of the suite's kernel into a directory and returns the files' names. Whoever reads the
// directory meanwhile sees whole files only.
func download(suite, to string) ([]string, error) {
	a, err := newAPT(suite)
	if err != nil {
		return nil, err
	}
	defer func() { _ = a.remove() }() // a directory that stays does no harm
	names, err := a.kernel()
	if err != nil {
		return nil, err
	}
	partly, err := os.MkdirTemp(to, "download-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(partly)
	if _, err := a.run(partly, "apt-get", append([]string{"download"}, names...)...); err != nil {
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(partly, "*.deb"))
	if err != nil || len(found) != len(names) {
		return nil, fmt.Errorf("apt-get download %s left %v: %w", strings.Join(names, " "), found, err)
	}
	for i, path := range found {
		found[i] = filepath.Base(path)
		if err := os.Rename(path, filepath.Join(to, found[i])); err != nil {
			return nil, err
		}
	}
	return found, nil
}
