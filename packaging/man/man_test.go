package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

func TestEscapes(t *testing.T) {
	for _, c := range []struct{ name, got, want string }{
		{"an option is copied as typed", text("see --dry-run and well-known"), `see \-\-dry\-run and well-known`},
		{"a short option in quotes", text(`"-o json"`), `"\-o json"`},
		{"a dot at the beginning is no request", text(".conf files"), `\&.conf files`},
		{"a backslash", literal(`a\b`), `a\eb`},
		{"a literal apostrophe at the beginning", literal("'*'"), `\&'*'`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.got != c.want {
				t.Errorf("%q, want %q", c.got, c.want)
			}
		})
	}
}

// TestSummaries holds the summaries to what the root commands say; --help does not print it.
func TestSummaries(t *testing.T) {
	for name, file := range map[string]string{"ctwarden": "root.go", "ctwarden-hub": "main.go"} {
		source, err := os.ReadFile(filepath.Join("../../cmd", name, file))
		if err != nil {
			t.Fatal(err)
		}
		if want := `Short: "` + programs[name].summary + `"`; !strings.Contains(string(source), want) {
			t.Errorf("%s has no %s", file, want)
		}
	}
}

// TestPagesOfThePrograms builds both programs, writes all their pages and has man format them: no warnings.
func TestPagesOfThePrograms(t *testing.T) {
	if _, err := exec.LookPath("groff"); err != nil {
		testhost.Skip(t, "needs groff: run scripts/setup.sh packages as root")
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir, "../../cmd/ctwarden", "../../cmd/ctwarden-hub")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	for name, c := range map[string]struct {
		config string
		pages  []string
	}{
		"ctwarden":     {"../ctwarden.yaml", []string{"ctwarden.1", "ctwarden-run.1", "ctwarden-hold.1", "ctwarden.yaml.5"}},
		"ctwarden-hub": {"../hub.yaml", []string{"ctwarden-hub.1", "ctwarden-hub-init.1", "ctwarden-hub.yaml.5"}},
	} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			args := []string{"-program", filepath.Join(dir, name), "-config", c.config, "-out", out, "-version", "1.2.3", "-date", "2026-01-02"}
			if err := run(args, os.Stderr); err != nil {
				t.Fatal(err)
			}
			for _, page := range c.pages {
				if _, err := os.Stat(filepath.Join(out, page)); err != nil {
					t.Error(err)
				}
			}
			checkPages(t, out)
		})
	}
}

func checkPages(t *testing.T, dir string) {
	t.Helper()
	pages, err := filepath.Glob(filepath.Join(dir, "*.[15]"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		format := exec.Command("groff", "-man", "-Tutf8", "-Kutf8", "-ww", "-z", page)
		if out, err := format.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("groff %s: %v: %s", filepath.Base(page), err, out)
		}
	}
}
