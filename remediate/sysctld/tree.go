package sysctld

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// Loader is a program that applies sysctl.d files.
type Loader int

// The loaders.
const (
	Systemd Loader = iota // systemd-sysctl, at boot
	Procps                // sysctl --system, by hand or from an init script
)

// String is the command's name.
func (l Loader) String() string {
	if l == Procps {
		return "sysctl --system"
	}
	return "systemd-sysctl"
}

// MainFile is the file that procps reads last and systemd only through a link.
const MainFile = "/etc/sysctl.conf"

// maxFile bounds what is read of one file, in bytes. The largest in any distribution is a few thousand.
const maxFile = 1 << 20

// maxLinks is how many symbolic links one path may take, as in the kernel.
const maxLinks = 40

// Dirs are the directories of sysctl.d files, by falling precedence.
func Dirs() []string {
	return []string{"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"}
}

// Problem is a file or line that cannot be used.
type Problem struct {
	File string `json:"file"`
	// Line counts from 1; 0: the whole file.
	Line int    `json:"line,omitempty"`
	Text string `json:"text"`
}

// File is one file of the tree.
type File struct {
	// Path is where the file was found, below the root and with a leading slash.
	Path string
	// Target is the file that Path leads to when it is a link; empty when it is none or leads nowhere.
	Target string
	// dir is the precedence of its directory, 0 the highest.
	dir  int
	data []byte
	err  error
}

// name is what files of several directories hide each other by.
func (f File) name() string { return path.Base(f.Path) }

// Tree is what [Load] found. It is a value of the past: later changes of the files do not show. Its methods may be
// called from several goroutines at once.
type Tree struct {
	files []File
	main  *File
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
	t := &Tree{}
	seen := map[string]bool{} // /lib/sysctl.d is /usr/lib/sysctl.d on most systems
	for i, dir := range Dirs() {
		real, err := resolve(r, dir)
		if err != nil || seen[real] {
			continue
		}
		seen[real] = true
		t.files = append(t.files, readDir(r, dir, real, i)...)
	}
	slices.SortStableFunc(t.files, func(a, b File) int { return cmp.Compare(a.name(), b.name()) })
	if f := readFile(r, MainFile); !errors.Is(f.err, fs.ErrNotExist) {
		t.main = &f
	}
	return t, nil
}

// Without is the tree as it would be if the file at path were not there.
func (t *Tree) Without(file string) *Tree {
	keep := func(f File) bool { return f.Path != file }
	out := &Tree{main: t.main}
	for _, f := range t.files {
		if keep(f) {
			out.files = append(out.files, f)
		}
	}
	if out.main != nil && !keep(*out.main) {
		out.main = nil
	}
	return out
}

// Files lists what the loader reads, in its order. Files hidden by one of the same name are not in it.
func (t *Tree) Files(l Loader) []File {
	var out []File
	for _, f := range t.files {
		if l == Systemd && strings.HasPrefix(f.name(), ".") {
			continue
		}
		// Of one name the highest directory comes first, since the sort is stable.
		if len(out) > 0 && out[len(out)-1].name() == f.name() {
			continue
		}
		out = append(out, f)
	}
	if l == Procps && t.main != nil {
		out = append(out, *t.main)
	}
	return out
}

// Hidden lists files that neither loader reads because one of the same name in a higher directory hides them.
func (t *Tree) Hidden() []File {
	var out []File
	for i, f := range t.files {
		if i > 0 && t.files[i-1].name() == f.name() {
			out = append(out, f)
		}
	}
	return out
}

// Problems lists what the loader cannot use, in its order.
func (t *Tree) Problems(l Loader) []Problem {
	var out []Problem
	for _, f := range t.Files(l) {
		if f.err != nil {
			out = append(out, Problem{File: f.Path, Text: f.err.Error()})
			continue
		}
		_, bad := parse(f.data, l)
		for _, p := range bad {
			p.File = f.Path
			out = append(out, p)
		}
	}
	return out
}

// readDir reads the .conf files of one directory. One that cannot be listed has none.
func readDir(r *os.Root, dir, real string, precedence int) []File {
	entries, err := fs.ReadDir(r.FS(), real)
	if err != nil {
		return nil
	}
	var out []File
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".conf") {
			continue
		}
		f := readFile(r, path.Join(dir, e.Name()))
		f.dir = precedence
		out = append(out, f)
	}
	return out
}

// readFile reads one file, through links. A device, as /dev/null, reads as empty; a pipe is not opened, since that
// could block for ever.
func readFile(r *os.Root, name string) File {
	f := File{Path: name}
	real, err := resolve(r, name)
	if err != nil {
		f.err = err
		return f
	}
	if real != strings.TrimPrefix(name, "/") {
		f.Target = "/" + real
	}
	fi, err := r.Stat(real)
	switch {
	case err != nil:
		f.err = err
	case fi.Mode().IsRegular():
		f.data, f.err = readAll(r, real)
	case fi.Mode()&fs.ModeDevice == 0:
		f.err = fmt.Errorf("%s is not a regular file", name)
	}
	return f
}

func readAll(r *os.Root, name string) ([]byte, error) {
	f, err := r.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxFile)
	}
	return data, err
}

// resolve follows every link of name as if the root were the root directory, which os.Root does not do for absolute
// links. The result is relative and free of links.
func resolve(r *os.Root, name string) (string, error) {
	done, rest := ".", strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, part)
		fi, err := r.Lstat(next)
		if err != nil {
			return "", err
		}
		if fi.Mode()&fs.ModeSymlink == 0 {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "open", Path: name, Err: syscall.ELOOP}
		}
		target, err := r.Readlink(next)
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			done = "."
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return done, nil
}
