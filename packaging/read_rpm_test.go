package packaging

import (
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// rpmScripts are the names that dpkg has for rpm's scripts.
var rpmScripts = map[string]string{"preinst": "PREIN", "postinst": "POSTIN", "prerm": "PREUN", "postrm": "POSTUN"}

// readRPM reads an .rpm with rpm's own tools.
func readRPM(t *testing.T, name, arch string) pkg {
	t.Helper()
	query := func(format string) string { return output(t, "rpm", "-qp", "--nosignature", "--qf", format, name) }
	p := pkg{path: name, name: query("%{NAME}"), format: "rpm", arch: arch, version: query("%{VERSION}"), scripts: map[string]string{}}
	if got, want := query("%{RELEASE}.%{ARCH}"), "1."+map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch]; got != want {
		t.Errorf("release and architecture %s, want %s", got, want)
	}
	p.needs = listed(query("[%{REQUIRENAME}\n]"))
	for script, tag := range rpmScripts {
		if text := query("%{" + tag + "}"); text != "(none)" {
			p.scripts[script] = text
		}
	}
	p.files = map[string]file{}
	bodies := unpackRPM(t, name)
	for _, line := range listed(query("[%{FILENAMES}\t%{FILEMODES:octal}\t%{FILEUSERNAME}\t%{FILEGROUPNAME}\t%{FILEFLAGS}\n]")) {
		p.addRPMFile(t, strings.Split(line, "\t"), bodies)
	}
	return p
}

// Of a file's flags in rpm: what it is, and that a changed one is kept.
const (
	rpmConfig    = 1 << 0
	rpmNoReplace = 1 << 4
)

func (p *pkg) addRPMFile(t *testing.T, fields []string, bodies map[string]file) {
	t.Helper()
	mode, err := strconv.ParseUint(fields[1], 8, 32)
	if err != nil {
		t.Fatal(err)
	}
	flags, err := strconv.Atoi(fields[4])
	if err != nil {
		t.Fatal(err)
	}
	f := file{mode: fs.FileMode(mode & 0o777), owner: fields[2], group: fields[3]}
	switch mode & 0o170000 {
	case 0o040000:
		f.mode |= fs.ModeDir
	case 0o100000:
		f.body = bodies[fields[0]].body
	default:
		t.Errorf("%s is of type %o", fields[0], mode&0o170000)
	}
	if flags&rpmConfig != 0 {
		if flags&rpmNoReplace == 0 {
			t.Errorf("%s is replaced although it was changed", fields[0])
		}
		p.config = append(p.config, fields[0])
	}
	p.files[fields[0]] = f
}

// unpackRPM is what an .rpm holds, by absolute path, without its owners.
func unpackRPM(t *testing.T, name string) map[string]file {
	t.Helper()
	archive, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	unpack := exec.Command("rpm2archive", "-n") // rpm2cpio fails after all is told, where an .rpm is not of rpm's own making
	unpack.Stdin = archive
	out, err := unpack.Output()
	if err != nil {
		t.Fatalf("rpm2archive: %v", err)
	}
	return readTar(t, string(out))
}
