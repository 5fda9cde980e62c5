package packaging

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// want is a file that a package has to have, for one format or for both.
type want struct {
	path, format string
	mode         fs.FileMode
	group        string // empty: root
	source       string // in the repository, whose text it has to have; empty: it is built
}

// both are files of both packages, with the package's name for NAME.
var both = []want{
	{path: "/usr/bin/NAME", mode: 0o755},
	{path: "/usr/lib/systemd/system/NAME.service", mode: 0o644, source: "systemd/NAME.service"},
	{path: "/usr/lib/sysusers.d/NAME.conf", mode: 0o644, source: "systemd/sysusers.d/NAME.conf"},
	{path: "/usr/share/bash-completion/completions/NAME", mode: 0o644},
	{path: "/usr/share/zsh/vendor-completions/_NAME", format: "deb", mode: 0o644},
	{path: "/usr/share/zsh/site-functions/_NAME", format: "rpm", mode: 0o644},
	{path: "/usr/share/fish/vendor_completions.d/NAME.fish", mode: 0o644},
	{path: "/usr/share/man/man1/NAME.1.gz", mode: 0o644},
	{path: "/usr/share/man/man5/NAME.yaml.5.gz", mode: 0o644},
	{path: "/usr/share/doc/NAME/copyright", mode: 0o644},
	{path: "/usr/share/doc/NAME/CHANGELOG.md.gz", mode: 0o644},
	{path: "/usr/share/doc/NAME/changelog.gz", format: "deb", mode: 0o644},
	{path: "/usr/share/doc/NAME/sbom.cdx.json", mode: 0o644},
	{path: "/usr/share/licenses/NAME/LICENSE", format: "rpm", mode: 0o644, source: "LICENSE"},
	{path: "/usr/share/lintian/overrides/NAME", format: "deb", mode: 0o644, source: "packaging/lintian/NAME"},
}

// own are the files that one package alone has.
var own = map[string][]want{
	"ctwarden": {
		{path: "/etc/ctwarden/ctwarden.yaml", mode: 0o640, group: "ctwarden", source: "packaging/ctwarden.yaml"},
		{path: "/usr/lib/systemd/system/ctwarden-persist.socket", mode: 0o644, source: "systemd/ctwarden-persist.socket"},
		{path: "/usr/lib/systemd/system/ctwarden-persist@.service", mode: 0o644, source: "systemd/ctwarden-persist@.service"},
		{path: "/usr/lib/systemd/system-preset/90-ctwarden.preset", format: "rpm", mode: 0o644, source: "systemd/system-preset/90-ctwarden.preset"},
		{path: "/usr/share/ctwarden/ctwarden.service.d/remediate.conf", mode: 0o644, source: "systemd/ctwarden.service.d/remediate.conf"},
		{path: "/usr/share/ctwarden/ctwarden.service.d/namespaces.conf", mode: 0o644, source: "systemd/ctwarden.service.d/namespaces.conf"},
		{path: "/usr/share/ctwarden/grafana/ctwarden.json", mode: 0o644, source: "packaging/grafana/ctwarden.json"},
		{path: "/usr/share/ctwarden/prometheus/ctwarden.rules.yaml", mode: 0o644, source: "packaging/prometheus/ctwarden.rules.yaml"},
		{path: "/usr/share/ctwarden/ansible/playbook.yml", mode: 0o644, source: "packaging/ansible/playbook.yml"},
		{path: "/usr/share/ctwarden/ansible/roles/ctwarden/tasks/main.yml", mode: 0o644, source: "packaging/ansible/roles/ctwarden/tasks/main.yml"},
	},
	"ctwarden-hub": {
		{path: "/etc/ctwarden/hub.yaml", mode: 0o640, group: "ctwarden-hub", source: "packaging/hub.yaml"},
		{path: "/usr/share/ctwarden-hub/grafana/ctwarden-hub.json", mode: 0o644, source: "packaging/grafana/ctwarden-hub.json"},
		{path: "/usr/share/ctwarden-hub/prometheus/ctwarden-hub.rules.yaml", mode: 0o644, source: "packaging/prometheus/ctwarden-hub.rules.yaml"},
	},
}

// further are directories whose other files are not listed one by one.
var further = []string{"/usr/share/man/man1/", "/usr/share/ctwarden/ansible/"}

func wanted(p pkg) []want {
	var all []want
	for _, w := range both {
		w.path, w.source = strings.ReplaceAll(w.path, "NAME", p.name), strings.ReplaceAll(w.source, "NAME", p.name)
		all = append(all, w)
	}
	all = append(all, own[p.name]...)
	return slices.DeleteFunc(all, func(w want) bool { return w.format != "" && w.format != p.format })
}

// checkContents holds each package to the list: nothing is missing, nothing else is there.
func checkContents(t *testing.T, p pkg) {
	listed := map[string]bool{}
	for _, w := range wanted(p) {
		listed[w.path] = true
		checkFile(t, p, w)
	}
	for path, f := range p.files {
		if f.owner != "root" || f.mode&0o022 != 0 || f.group != "root" && !listed[path] {
			t.Errorf("%s is %v %s:%s", path, f.mode, f.owner, f.group)
		}
		known := f.mode.IsDir() || listed[path] || slices.ContainsFunc(further, func(dir string) bool { return strings.HasPrefix(path, dir) })
		if !known {
			t.Errorf("%s is in the package and not in the list", path)
		}
	}
}

func checkFile(t *testing.T, p pkg, w want) {
	t.Helper()
	f, ok := p.files[w.path]
	if !ok {
		t.Errorf("%s is missing", w.path)
		return
	}
	group := w.group
	if group == "" {
		group = "root"
	}
	if f.mode != w.mode || f.owner != "root" || f.group != group {
		t.Errorf("%s is %v %s:%s, want %v root:%s", w.path, f.mode, f.owner, f.group, w.mode, group)
	}
	if w.source == "" {
		return
	}
	text, err := os.ReadFile(filepath.Join("..", w.source))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(f.body, text) {
		t.Errorf("%s is not %s", w.path, w.source)
	}
}

// checkDirectories has every directory that is a package's own belong to it, so that it goes when the package does.
func checkDirectories(t *testing.T, p pkg) {
	for path := range p.files {
		for dir := filepath.Dir(path); strings.Contains(dir, "ctwarden"); dir = filepath.Dir(dir) {
			if f, ok := p.files[dir]; !ok || f.mode != fs.ModeDir|0o755 {
				t.Errorf("%s, of %s, is %v in the package", dir, path, f.mode)
			}
		}
	}
}

func checkConfig(t *testing.T, p pkg) {
	want := map[string]string{"ctwarden": "/etc/ctwarden/ctwarden.yaml", "ctwarden-hub": "/etc/ctwarden/hub.yaml"}[p.name]
	if !slices.Equal(p.config, []string{want}) {
		t.Errorf("kept when changed: %v, want %s", p.config, want)
	}
}

// checkScripts holds the maintainer scripts to those in the repository, which serve both formats.
func checkScripts(t *testing.T, p pkg) {
	for script := range rpmScripts {
		text, err := os.ReadFile("scripts/" + p.name + "." + script)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.scripts[script]; strings.TrimSpace(got) != strings.TrimSpace(string(text)) {
			t.Errorf("%s is not the repository's: %d bytes, want %d", script, len(got), len(text))
		}
		check := exec.Command("sh", "-n")
		check.Stdin = bytes.NewReader(text)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", script, err, out)
		}
	}
}

func checkNeeds(t *testing.T, p pkg) {
	floor := map[string]string{"deb": "libc6 (>= 2.28)", "rpm": "libc.so.6(GLIBC_2.28)(64bit)"}[p.format]
	if got := slices.Contains(p.needs, floor); got != (p.name == "ctwarden") {
		t.Errorf("needs %v; %s among them: %v", p.needs, floor, got)
	}
	for _, need := range p.needs {
		if strings.Contains(need, "libsystemd") || strings.Contains(need, "nats") {
			t.Errorf("needs %s, without which the program works", need)
		}
	}
}
