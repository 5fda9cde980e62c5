package packaging

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os/exec"
	"path"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// readDeb reads a .deb with dpkg's own tool.
func readDeb(t *testing.T, name, arch string) pkg {
	t.Helper()
	field := func(key string) string { return strings.TrimSpace(output(t, "dpkg-deb", "--field", name, key)) }
	p := pkg{path: name, name: field("Package"), format: "deb", arch: arch, version: field("Version"), scripts: map[string]string{}}
	if got := field("Architecture"); got != arch {
		t.Errorf("architecture %s, want %s", got, arch)
	}
	for _, need := range strings.Split(field("Depends"), ",") {
		p.needs = append(p.needs, strings.TrimSpace(need))
	}
	p.files = readTar(t, output(t, "dpkg-deb", "--fsys-tarfile", name))
	for control, f := range readTar(t, output(t, "dpkg-deb", "--ctrl-tarfile", name)) {
		switch base := path.Base(control); base {
		case "preinst", "postinst", "prerm", "postrm":
			p.scripts[base] = string(f.body)
		case "conffiles":
			p.config = listed(string(f.body))
		case "/", "control", "md5sums":
		default:
			t.Errorf("the control archive has %s", base)
		}
	}
	return p
}

// readTar is what an archive holds, by absolute path.
func readTar(t *testing.T, archive string) map[string]file {
	t.Helper()
	files := map[string]file{}
	for r := tar.NewReader(strings.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s belongs to the numbers %d:%d, which mean nothing on another host", h.Name, h.Uid, h.Gid)
		}
		name := path.Join("/", h.Name)
		if _, twice := files[name]; twice {
			t.Errorf("%s is there twice", name)
		}
		files[name] = file{mode: h.FileInfo().Mode(), owner: h.Uname, group: h.Gname, body: body}
	}
}

// output is what a program prints; the test is skipped where it is not here.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		testhost.Skip(t, "needs "+name+": run scripts/setup.sh packages-check as root")
	}
	var said bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, said.String())
	}
	return string(out)
}
