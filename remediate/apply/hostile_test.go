package apply

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/remediate"
)

// hostileNames are what somebody else may plant in the agent's directories, hoping that it is written through.
func hostileNames() []string {
	return []string{
		intentFile(meta.ID), "." + intentFile(meta.ID), intentFile(UndoID(meta.ID)), intentFile("other"), bootFile, "." + bootFile,
		HoldFile, "." + HoldFile,
	}
}

// hostile plants links to a victim in dir: relative ones, which os.Root would follow within its bounds, and absolute.
func hostile(t *testing.T, dir, target string) {
	t.Helper()
	for _, name := range hostileNames() {
		path := filepath.Join(dir, name)
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHostileDirectory: whatever links somebody else put into the agent's directories, nothing is written outside of
// them, nothing outside is read as if it were the agent's, and no link is left where a file was written.
func TestHostileDirectory(t *testing.T) {
	for name, target := range map[string]func(dir string) string{
		"absolute": func(dir string) string { return filepath.Join(dir, "victim") },
		"relative": func(string) string { return "../../victim" },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, 1000, 4096)
			dir := filepath.Join(f.root, "run/ctwarden")
			if err := os.MkdirAll(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			const secret = "until: released\nby: somebody\n"
			f.plant("victim", secret)
			hostile(t, dir, target(f.root))
			if _, err := f.Step(raise(1000, 2000, 0), meta); err != nil {
				t.Errorf("step: %v", err)
			}
			if f.BootApplied() {
				t.Error("a link is taken for the mark of the boot")
			}
			if err := f.MarkBootApplied(); err != nil || !f.BootApplied() {
				t.Errorf("mark: %v", err)
			}
			if err := SetHold(dir, remediate.Hold{Since: at, By: "root"}); err != nil {
				t.Errorf("hold: %v", err)
			}
			if h, err := Held(dir, at); err != nil || h == nil || h.By != "root" {
				t.Errorf("hold: %+v, %v", h, err)
			}
			if _, err := f.Recover(); err != nil && !strings.Contains(err.Error(), "escapes") {
				t.Errorf("recover: %v", err)
			}
			if text, err := os.ReadFile(filepath.Join(f.root, "victim")); err != nil || string(text) != secret {
				t.Errorf("the victim reads %q, %v", text, err)
			}
			for _, written := range []string{intentFile(meta.ID), bootFile, HoldFile} {
				info, err := os.Lstat(filepath.Join(dir, written))
				if err != nil || !info.Mode().IsRegular() {
					t.Errorf("%s: %v, %v", written, info, err)
				}
			}
		})
	}
}

// TestPipesInRuntimeDir: opening a pipe waits for a writer, for ever.
func TestPipesInRuntimeDir(t *testing.T) {
	f := newFake(t, 1000, 4096)
	dir := filepath.Join(f.root, "run/ctwarden")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{intentFile("pipe"), bootFile} {
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if f.BootApplied() {
		t.Error("a pipe is taken for the mark of the boot")
	}
	if got, err := f.Recover(); err != nil || len(got) != 1 || got[0].Result != ResultDamaged {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestFileModes: what the agent keeps in its runtime directory is for its user alone.
func TestFileModes(t *testing.T) {
	f := newFake(t, 1000, 4096)
	if _, err := f.Step(raise(1000, 2000, 0), meta); err != nil {
		t.Fatal(err)
	}
	if err := f.MarkBootApplied(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(f.cfg.RuntimeDir, "*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("files: %v, %v", files, err)
	}
	for _, path := range files {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if info, err := os.Stat(filepath.Join(f.root, "run/ctwarden")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
