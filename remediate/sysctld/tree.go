package sysctld

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/ctwarden/ctwarden/internal/confdir"
)

// MainFile is the file that procps reads last and systemd only through a link.
const MainFile = "/etc/sysctl.conf"

// Dirs are the directories of sysctl.d files, by falling precedence.
func Dirs() []string {
	return []string{"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"}
}

// Problem is a file or line that cannot be used.
type Problem struct {
	File string `json:"file"`
	// Line counts from 1; 0: the whole file, or directory.
	Line int    `json:"line,omitempty"`
	Text string `json:"text"`
	// Unread is true where it is the caller who could not read the file: the loader, which runs as root, may, and what
	// it says then is not in any answer.
	Unread bool `json:"unread,omitempty"`
}

// File is one file of the tree.
type File = confdir.File

// Tree is what [Load] found. It is a value of the past: later changes of the files do not show. Its methods may be
// called from several goroutines at once.
type Tree struct {
	files    []File
	unlisted []File
	main     *File
}

// Load reads the tree below root, "/" for the host itself. Links are followed as if root were the root directory. A
// file that cannot be read is no error but a [Problem], since the loaders pass over it too; the error tells of a root
// that cannot be opened.
func Load(root string) (*Tree, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open root: %w", err)
	}
	defer r.Close()
	return Read(r), nil
}

// Read is [Load] below a root that is open.
func Read(r *os.Root) *Tree {
	l := confdir.List(r, Dirs(), ".conf")
	t := &Tree{files: l.Files, unlisted: l.Unlisted}
	if f := confdir.Read(r, MainFile); !errors.Is(f.Err, fs.ErrNotExist) {
		t.main = &f
	}
	return t
}

// Without is the tree as it would be if the file at path were not there.
func (t *Tree) Without(file string) *Tree {
	return t.Only(func(path string) bool { return path != file })
}

// Only is the tree as it would be if it had just the files whose path is wanted.
func (t *Tree) Only(wanted func(path string) bool) *Tree {
	out := &Tree{unlisted: t.unlisted}
	for _, f := range t.files {
		if wanted(f.Path) {
			out.files = append(out.files, f)
		}
	}
	if t.main != nil && wanted(t.main.Path) {
		out.main = t.main
	}
	return out
}

// Files lists what the loader reads, in its order. Files hidden by one of the same name are not in it.
func (t *Tree) Files(l Loader) []File {
	files := slices.Clone(t.files)
	slices.SortStableFunc(files, func(a, b File) int {
		return cmp.Or(cmp.Compare(a.Name(), b.Name()), cmp.Compare(l.rank(a.Dir), l.rank(b.Dir)))
	})
	if l.systemd() {
		files = slices.DeleteFunc(files, func(f File) bool { return strings.HasPrefix(f.Name(), ".") })
	}
	files = confdir.First(files)
	if !l.systemd() && t.main != nil {
		files = append(files, *t.main)
	}
	return files
}

// Hidden lists files that are not read because one of the same name in a higher directory hides them.
func (t *Tree) Hidden() []File {
	var out []File
	for i, f := range t.files {
		if i > 0 && t.files[i-1].Name() == f.Name() {
			out = append(out, f)
		}
	}
	return out
}

// Problems lists what the loader cannot use, in its order, with what could not be read from here.
func (t *Tree) Problems(l Loader) []Problem {
	var out []Problem
	for _, d := range t.unlisted {
		out = append(out, Problem{File: d.Path, Text: d.Err.Error(), Unread: true})
	}
	for _, f := range t.Files(l) {
		if f.Err != nil {
			out = append(out, Problem{File: f.Path, Text: f.Err.Error(), Unread: f.Unread()})
			continue
		}
		_, bad := parse(f.Data, l)
		for _, p := range bad {
			p.File = f.Path
			out = append(out, p)
		}
	}
	return out
}
