package watcher

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// errMoving says that files were renamed under the reader's hands; it is over in a moment.
var errMoving = errors.New("the file is being rotated")

// family is a file with all that it was rotated to, as they were at one moment, open. What a file is called later does
// not matter then.
type family struct {
	live    *logFile   // nil: there is nothing at the path
	rotated []relative // oldest first; compressed ones are not among them
}

// relative is a rotated file.
type relative struct {
	*logFile
	changed time.Time
}

// rotatedSuffix is what logrotate puts behind a name: a number or a date.
var rotatedSuffix = regexp.MustCompile(`^[.-][0-9][0-9_.:T-]*$`)

// openFamily opens the file at path and those beside it that are named after it, and one more that may have any name.
// A rotation may be under way: it fails with errMoving where names did not stay the same meanwhile.
func openFamily(path string, also fileID) (*family, error) {
	before, err := listFamily(path, also)
	if err != nil {
		return nil, err
	}
	m := &family{}
	for name, id := range before {
		f, err := openLog(name)
		if err == nil {
			m.add(f, name == path)
		}
		switch {
		case err == nil && f.id == id:
		case name != path && errors.Is(err, fs.ErrPermission):
			// An old one that is not ours to read; the path itself must be.
		case err == nil || errors.Is(err, fs.ErrNotExist):
			return nil, errors.Join(errMoving, m.close(nil))
		default:
			return nil, errors.Join(err, m.close(nil))
		}
	}
	after, err := listFamily(path, also)
	if err != nil {
		return nil, errors.Join(err, m.close(nil))
	}
	if !sameNames(before, after) {
		return nil, errors.Join(errMoving, m.close(nil))
	}
	m.sort()
	return m, nil
}

// sort puts the oldest first: the highest number where all are numbered, else by the last change.
func (m *family) sort() {
	numbered := !slices.ContainsFunc(m.rotated, func(r relative) bool { return r.number() == 0 })
	slices.SortFunc(m.rotated, func(a, b relative) int {
		if numbered {
			return b.number() - a.number()
		}
		return cmp.Or(a.changed.Compare(b.changed), strings.Compare(a.Name(), b.Name()))
	})
}

// number is N+1 of a name that ends in ".N" with N below a million; 0: it ends in a date or in something else.
func (r relative) number() int {
	n, err := strconv.Atoi(strings.TrimPrefix(filepath.Ext(r.Name()), "."))
	if err != nil || n < 0 || n >= 1e6 {
		return 0
	}
	return n + 1
}

func (m *family) add(f *logFile, live bool) {
	if live {
		m.live = f
		return
	}
	r := relative{logFile: f}
	if info, err := f.Stat(); err == nil {
		r.changed = info.ModTime()
	}
	m.rotated = append(m.rotated, r)
}

// close closes all but those in keep.
func (m *family) close(keep []*logFile) error {
	var errs []error
	if m.live != nil && !slices.Contains(keep, m.live) {
		errs = append(errs, m.live.close())
	}
	for _, r := range m.rotated {
		if !slices.Contains(keep, r.logFile) {
			errs = append(errs, r.close())
		}
	}
	return errors.Join(errs...)
}

// find returns the rotated file that has, before off, what print is the print of: the one with the inode, else the
// newest with the content, which is a copy. Nil: there is none.
func (m *family) find(id fileID, off int64, print string) *logFile {
	for _, r := range m.rotated {
		if r.id == id && r.matches(off, print) {
			return r.logFile
		}
	}
	for _, r := range slices.Backward(m.rotated) {
		if print != "" && r.id != id && r.matches(off, print) {
			r.copied = true
			return r.logFile
		}
	}
	return nil
}

// newer returns the rotated files that came after f and are not in the queue, oldest first: what came and went while
// nobody looked. A copy of what is in the live file now is not among them: it is there to be read.
func (m *family) newer(f *logFile, queue []*logFile) ([]*logFile, error) {
	at := slices.IndexFunc(m.rotated, func(r relative) bool { return r.id == f.id })
	if at < 0 { // it has a name that tells nothing
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		for at = 0; at < len(m.rotated) && !m.rotated[at].changed.After(info.ModTime()); at++ {
		}
		at--
	}
	var files []*logFile
	for _, r := range m.rotated[at+1:] {
		held := slices.ContainsFunc(queue, func(q *logFile) bool { return q.id == r.id })
		if !held && !copyOf(r.logFile, m.live) {
			files = append(files, r.logFile)
		}
	}
	return files, nil
}

// copyOf tells whether f begins as live does.
func copyOf(f, live *logFile) bool {
	if live == nil {
		return false
	}
	a, b := live.start(), f.start()
	return len(a) > 0 && bytes.HasPrefix(b, a)
}

// start is the beginning of the file, or nothing where it cannot be read.
func (f *logFile) start() []byte {
	b := make([]byte, markSize)
	n, _ := f.ReadAt(b, 0)
	return b[:max(n, 0)]
}

// listFamily names the regular files of the family.
func listFamily(path string, also fileID) (map[string]fileID, error) {
	names := map[string]fileID{}
	if info, err := os.Stat(path); err == nil {
		names[path] = idOf(info)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	dir, base := filepath.Dir(path), filepath.Base(path)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return names, nil // a directory may be entered and not listed; then there is the path alone
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || e.Name() == base {
			continue
		}
		if id := idOf(info); id == also || isRotated(e.Name(), base) {
			names[filepath.Join(dir, e.Name())] = id
		}
	}
	return names, nil
}

// isRotated tells whether name says that the file was called base once: kern.log.1, kern.log-20260102, or with
// logrotate's "extension .log", kern-20260102.log.
func isRotated(name, base string) bool {
	if suffix, ok := strings.CutPrefix(name, base); ok {
		return rotatedSuffix.MatchString(suffix)
	}
	ext := filepath.Ext(base)
	suffix, ok := strings.CutPrefix(name, strings.TrimSuffix(base, ext))
	if !ok {
		return false
	}
	suffix, ok = strings.CutSuffix(suffix, ext)
	return ok && rotatedSuffix.MatchString(suffix)
}

func sameNames(a, b map[string]fileID) bool {
	if len(a) != len(b) {
		return false
	}
	for name, id := range a {
		if b[name] != id {
			return false
		}
	}
	return true
}
