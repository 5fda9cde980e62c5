package watcher

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// errMoving says that files were renamed under the reader's hands; it is over in a moment.
var errMoving = errors.New("the file is being rotated")

// family is a file with all that it was rotated to, as they were at one moment, open. What a file is called later does
// not matter then.
type family struct {
	live    *logFile   // nil: there is nothing at the path
	rotated []relative // oldest first
	// other is the file that was asked for besides, where its name says nothing; nil: there is none.
	other *logFile
}

// relative is a rotated file.
type relative struct {
	*logFile
	name rotatedName
}

// member is a file of the family as the directory lists it.
type member struct {
	id   fileID
	name rotatedName
	// other is true for the file that was asked for besides.
	other bool
	// real is the path that its name comes from where that is what the path is a link to.
	real string
}

// openFamily opens the file at path and those that are named after it, beside it and beside what it is a link to, and
// the file of the position, which may have any name; pos may be nil. A rotation may be under way: it fails with
// errMoving where names did not stay the same meanwhile.
func openFamily(path string, pos *syslogPosition) (*family, error) {
	before, err := listFamily(path, pos)
	if err != nil {
		return nil, err
	}
	m := &family{}
	for name, found := range before {
		f, err := openLog(name)
		if err == nil {
			m.add(f, found, name == path)
		}
		switch {
		case err == nil && f.id == found.id:
		case name != path && errors.Is(err, fs.ErrPermission):
			// An old one that is not ours to read; the path itself must be.
		case err == nil || errors.Is(err, fs.ErrNotExist) || name != path && errors.Is(err, errNotFile):
			return nil, errors.Join(errMoving, m.close(nil))
		default:
			return nil, errors.Join(err, m.close(nil))
		}
	}
	after, err := listFamily(path, pos)
	if err != nil {
		return nil, errors.Join(err, m.close(nil))
	}
	if !sameNames(before, after) {
		return nil, errors.Join(errMoving, m.close(nil))
	}
	sortRelatives(m.rotated)
	return m, m.dropTwins()
}

func (m *family) add(f *logFile, found member, live bool) {
	switch {
	case live:
		m.live = f
		f.real = found.real
	case found.other:
		m.other = f
	default:
		f.real, f.packed, f.copied = found.real, found.name.packed, found.name.packed
		m.rotated = append(m.rotated, relative{f, found.name})
	}
}

// dropTwins closes those that hold what another holds that is to be read instead: a copy of what is in the live file
// now, which may be under way, and a packed file whose plain one is still there, since it may not be complete.
func (m *family) dropTwins() error {
	var errs []error
	all := slices.Clone(m.rotated)
	m.rotated = slices.DeleteFunc(m.rotated, func(r relative) bool {
		twin := r.copyOf(m.live) || r.packed && slices.ContainsFunc(all, r.isPackedOf)
		if twin {
			errs = append(errs, r.close())
		}
		return twin
	})
	return errors.Join(errs...)
}

// isPackedOf tells whether r is what plain is being packed to, as far as that has come.
func (r relative) isPackedOf(plain relative) bool {
	if plain.packed || plain.name.suffix != r.name.suffix {
		return false
	}
	start := r.start()
	return len(start) == 0 || plain.beginsAs(start)
}

// close closes all but those in keep.
func (m *family) close(keep []*logFile) error {
	var errs []error
	for _, f := range append([]*logFile{m.live, m.other}, files(m.rotated)...) {
		if f != nil && !slices.Contains(keep, f) {
			errs = append(errs, f.close())
		}
	}
	return errors.Join(errs...)
}

func files(relatives []relative) []*logFile {
	var list []*logFile
	for _, r := range relatives {
		list = append(list, r.logFile)
	}
	return list
}

// listFamily names the regular files of the family.
func listFamily(path string, pos *syslogPosition) (map[string]member, error) {
	names := map[string]member{}
	if info, err := os.Stat(path); err == nil {
		names[path] = member{id: idOf(info), real: realPath(path)}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for i, place := range places(path, pos) {
		// A directory may be entered and not listed; then there is the path alone.
		entries, err := os.ReadDir(filepath.Dir(place))
		if err != nil && i == 0 && !errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
		for _, e := range entries {
			name := filepath.Join(filepath.Dir(place), e.Name())
			if found, ok := belongs(e, place, pos); ok && found.id != names[path].id && name != path {
				if i > 0 {
					found.real = place
				}
				names[name] = found
			}
		}
	}
	return names, nil
}

// places are the paths that files of the family are named after: the path, and, where it is a link, what it is a link
// to and what it was a link to at the time of the position.
func places(path string, pos *syslogPosition) []string {
	list := []string{path}
	if real := realPath(path); real != "" {
		list = append(list, real)
	}
	if pos != nil && pos.Real != "" {
		list = append(list, pos.Real)
	}
	slices.Sort(list[1:])
	return slices.Compact(list)
}

// realPath is what the path is a link to; empty where it is no link, or leads nowhere.
func realPath(path string) string {
	if info, err := os.Lstat(path); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return ""
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ""
	}
	return real
}

// belongs tells whether a file of place's directory is one of the family.
func belongs(e fs.DirEntry, place string, pos *syslogPosition) (member, bool) {
	name, rotated := parseRotated(e.Name(), filepath.Base(place))
	if !rotated && e.Name() != filepath.Base(place) && (pos == nil || pos.fileID == fileID{}) {
		return member{}, false
	}
	info, err := e.Info()
	if err != nil || !info.Mode().IsRegular() {
		return member{}, false
	}
	found := member{id: idOf(info), name: name, other: !rotated}
	if e.Name() == filepath.Base(place) { // the path is a link to another now
		return member{id: found.id}, true
	}
	return found, rotated || pos != nil && found.id == pos.fileID
}

func sameNames(a, b map[string]member) bool {
	if len(a) != len(b) {
		return false
	}
	for name, found := range a {
		if b[name] != found {
			return false
		}
	}
	return true
}
