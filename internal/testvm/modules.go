package testvm

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// moduleFile is the name of a module's file: the module's, and how it is compressed, which differs from release to release.
var moduleFile = regexp.MustCompile(`^(.+)\.ko(|\.xz|\.zst)$`)

// copyModules copies modules and those that they need, uncompressed, and what tells depmod of the built-in ones.
func copyModules(t *testing.T, k Kernel, names []string, to string) {
	t.Helper()
	found := findModules(t, k)
	makeDir(t, to)
	for todo := slices.Clone(names); len(todo) > 0; todo = todo[1:] {
		name := moduleName(todo[0])
		path := filepath.Join(to, name+".ko")
		if _, err := os.Stat(path); found[name] == "" || err == nil {
			continue // built in, or copied already
		}
		write(t, path, unpackModule(t, found[name]), 0o644)
		needs := strings.TrimSpace(output(t, "modinfo", "-F", "depends", path))
		todo = append(todo, strings.FieldsFunc(needs, func(r rune) bool { return r == ',' })...)
	}
	for _, list := range []string{"modules.order", "modules.builtin", "modules.builtin.modinfo"} {
		path := filepath.Join(k.modules, list)
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			copyFile(t, path, filepath.Join(to, list))
		}
	}
}

// findModules lists the files of a kernel's modules by their names.
func findModules(t *testing.T, k Kernel) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(k.modules, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if m := moduleFile.FindStringSubmatch(d.Name()); m != nil && !d.IsDir() {
			found[moduleName(m[1])] = path
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// moduleName writes a module's name as the kernel does, which takes both for the same.
func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

func unpackModule(t *testing.T, path string) string {
	t.Helper()
	switch filepath.Ext(path) {
	case ".xz":
		return output(t, "xz", "-dc", path)
	case ".zst":
		return output(t, "zstd", "-dcq", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
