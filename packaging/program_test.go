package packaging

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// checkProgram looks at each program as a loader does: its machine, the C library that it asks for, the libraries that it
// does not start without.
func checkProgram(t *testing.T, p pkg) {
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	path := p.program(t)
	program, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if program.Machine != machines[p.arch] {
		t.Errorf("it is for %v", program.Machine)
	}
	t.Log(strings.TrimSpace(output(t, "go", "run", "./glibcfloor", "-floor", "2.28", path)))
	libraries, err := program.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	if static := len(libraries) == 0; static != (p.name == "ctwarden-hub") {
		t.Errorf("libraries that it does not start without: %v", libraries)
	}
	// What is loaded at run time is only a string in it.
	if has := bytes.Contains(p.files["/usr/bin/"+p.name].body, []byte("libsystemd.so.0")); has != (p.name == "ctwarden") {
		t.Errorf("it can load libsystemd: %v", has)
	}
	if program.Section(".symtab") != nil || program.Section(".debug_info") != nil {
		t.Error("it has symbols that only a debugger reads")
	}
}

// checkVersion runs the programs that this machine can run.
func checkVersion(t *testing.T, p pkg) {
	if p.arch != runtime.GOARCH {
		t.Skip("this machine is " + runtime.GOARCH)
	}
	args := map[string][]string{"ctwarden": {"version"}, "ctwarden-hub": {"--version"}}[p.name]
	out, err := exec.Command(p.program(t), args...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), " "+p.version) {
		t.Errorf("%v: %s; the package's version is %s", err, out, p.version)
	}
}

// bom is what a test looks for in a CycloneDX document.
type bom struct {
	BOMFormat    string `json:"bomFormat"`
	SpecVersion  string `json:"specVersion"`
	SerialNumber string `json:"serialNumber"`
	Metadata     struct {
		Timestamp string    `json:"timestamp"`
		Component component `json:"component"`
	} `json:"metadata"`
	Components []component `json:"components"`
}

type component struct {
	Name, Version, Type, PURL string
}

// checkSBOM holds the bill of materials to the program itself, which has a list of its modules inside.
func checkSBOM(t *testing.T, p pkg) {
	var b bom
	if err := json.Unmarshal(p.files["/usr/share/doc/"+p.name+"/sbom.cdx.json"].body, &b); err != nil {
		t.Fatal(err)
	}
	if b.BOMFormat != "CycloneDX" || b.SpecVersion < "1.5" || b.SerialNumber != "" || !strings.HasSuffix(b.Metadata.Timestamp, "Z") {
		t.Errorf("format %s %s, serial %q, time %s", b.BOMFormat, b.SpecVersion, b.SerialNumber, b.Metadata.Timestamp)
	}
	if m := b.Metadata.Component; m.Name != "github.com/ctwarden/ctwarden" || m.Version != "v"+p.version {
		t.Errorf("it is of %s %s", m.Name, m.Version)
	}
	info, err := buildinfo.ReadFile(p.program(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Deps) < 10 {
		t.Fatalf("only %d modules", len(info.Deps))
	}
	for _, module := range info.Deps {
		named := func(c component) bool {
			return c.Name == module.Path && c.Version == module.Version && c.Type == "library" && strings.HasPrefix(c.PURL, "pkg:golang/")
		}
		if !slices.ContainsFunc(b.Components, named) {
			t.Errorf("%s %s is not in it", module.Path, module.Version)
		}
		if !bytes.Contains(p.files["/usr/share/doc/"+p.name+"/copyright"].body, []byte("\nFiles: "+module.Path+"/*\n")) {
			t.Errorf("%s is not in the copyright file", module.Path)
		}
	}
}
