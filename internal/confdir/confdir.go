package confdir

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

// MaxFile bounds what is read of one file, in bytes. The largest in any distribution is a few thousand.
const MaxFile = 1 << 20

// maxLinks is how many symbolic links one path may take, as in the kernel.
const maxLinks = 40

// ErrTooLarge is a file of more than [MaxFile] bytes.
var ErrTooLarge = errors.New("larger than is read of such a file")

// File is one file of a directory.
type File struct {
	// Path is where the file was found, below the root and with a leading slash.
	Path string
	// Target is the file that Path leads to when it is a link; empty when it is none or leads nowhere.
	Target string
	// Dir is the place of its directory among those that were listed, 0 the first.
	Dir int
	// Data is what is in it, valid where Err is nil. A device, as /dev/null, is empty.
	Data []byte
	Err  error
}

// Name is what files of several directories hide each other by.
func (f File) Name() string { return path.Base(f.Path) }

// Unread tells whether the file has something in it that could not be read from here: root may read it. A link that leads
// nowhere has nothing.
func (f File) Unread() bool {
	return errors.Is(f.Err, fs.ErrPermission) || errors.Is(f.Err, ErrTooLarge)
}

// Listing is what [List] found.
type Listing struct {
	// Files are all files, by name; of one name the first directory's comes first.
	Files []File
	// Unlisted has the directories that are there and could not be listed, with the error.
	Unlisted []File
}

// List reads every file with the suffix in the directories, which are given by falling precedence. A directory that is
// another one by way of a link is read once.
func List(r *os.Root, dirs []string, suffix string) Listing {
	var out Listing
	seen := map[string]bool{} // /lib/sysctl.d is /usr/lib/sysctl.d on most systems
	for i, dir := range dirs {
		real, err := Resolve(r, dir)
		if err == nil && seen[real] {
			continue
		}
		var names []string
		if err == nil {
			seen[real] = true
			names, err = list(r, real, suffix)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			out.Unlisted = append(out.Unlisted, File{Path: dir, Dir: i, Err: err})
		}
		for _, name := range names {
			f := Read(r, path.Join(dir, name))
			f.Dir = i
			out.Files = append(out.Files, f)
		}
	}
	slices.SortStableFunc(out.Files, func(a, b File) int { return cmp.Compare(a.Name(), b.Name()) })
	return out
}

// First leaves the files that count: of each name the first directory's.
func First(files []File) []File {
	var out []File
	for _, f := range files {
		if len(out) == 0 || out[len(out)-1].Name() != f.Name() {
			out = append(out, f)
		}
	}
	return out
}

// list gives the names with the suffix in a directory, whose path is free of links.
func list(r *os.Root, real, suffix string) ([]string, error) {
	entries, err := fs.ReadDir(r.FS(), real)
	if errors.Is(err, syscall.ENOTDIR) {
		return nil, nil // a file has taken the directory's name: there are none in it
	}
	var out []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			out = append(out, e.Name())
		}
	}
	return out, err
}

// Read reads one file, through links. A pipe is not opened, since that could block for ever.
func Read(r *os.Root, name string) File {
	f := File{Path: path.Join("/", name)}
	real, err := Resolve(r, name)
	if err != nil {
		f.Err = err
		return f
	}
	if real != strings.TrimPrefix(f.Path, "/") {
		f.Target = "/" + real
	}
	fi, err := r.Stat(real)
	switch {
	case err != nil:
		f.Err = err
	case fi.Mode().IsRegular():
		f.Data, f.Err = readAll(r, real)
	case fi.Mode()&fs.ModeDevice == 0:
		f.Err = fmt.Errorf("%s is not a regular file", f.Path)
	}
	return f
}

func readAll(r *os.Root, name string) ([]byte, error) {
	f, err := r.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err == nil && len(data) > MaxFile {
		return nil, fmt.Errorf("%s: %w (%d bytes)", name, ErrTooLarge, MaxFile)
	}
	return data, err
}

// Resolve follows every link of name as if the root were the root directory. The result is relative and free of links.
func Resolve(r *os.Root, name string) (string, error) {
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
