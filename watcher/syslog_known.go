package watcher

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// knownFiles are the rotated files that were there at some moment. What is not among them later has been rotated since:
// that is how a file is noticed that came and went between two looks. Plain files are known by what they begin with,
// since they are renamed, copied and packed, and their inodes used again.
type knownFiles struct {
	heads [][]byte // a file that was short may have grown since
	// reals are the paths that they are named after where the path is a link; files of others were not listed.
	reals []string
	// as has the packed and the empty ones, which are not opened for this.
	as map[fileState]bool
}

// fileState is a file that is taken for unchanged.
type fileState struct {
	id      fileID
	size    int64
	touched int64
}

func (f *logFile) state() fileState { return fileState{f.id, f.end, f.touched.UnixNano()} }

// known notes what there is of the family.
func (m *family) known() *knownFiles { return m.note(m.rotated) }

// knownTo is known as f may know it: of those that were rotated after f only what it knew already, for the others have
// yet to be queued behind it.
func (m *family) knownTo(f *logFile) *knownFiles {
	before := m.before(f)
	list := slices.Clone(before)
	for _, r := range m.rotated[len(before):] {
		if f.known != nil && f.known.has(r.logFile) {
			list = append(list, r)
		}
	}
	return m.note(list)
}

func (m *family) note(list []relative) *knownFiles {
	k := &knownFiles{as: map[fileState]bool{}, reals: []string{""}}
	if m.live != nil {
		k.reals = append(k.reals, m.live.real)
	}
	for _, r := range list {
		k.add(r.logFile)
	}
	return k
}

func (k *knownFiles) add(f *logFile) {
	if f.packed {
		k.as[f.state()] = true
	} else if start := f.start(); telling(start) {
		k.heads = append(k.heads, start)
	} else {
		k.as[f.state()] = true
	}
}

// know has every file of the queue know those of list, which are queued now: they are not to be queued again for another.
func (s *Syslog) know(list []*logFile) {
	for _, q := range s.files {
		for _, f := range list {
			if q.known != nil {
				q.known.add(f)
			}
		}
	}
}

// has tells whether f was there, or may have been.
func (k *knownFiles) has(f *logFile) bool {
	if k.as[f.state()] || !slices.Contains(k.reals, f.real) {
		return true
	}
	return slices.ContainsFunc(k.heads, f.beginsAs)
}

// unknown returns those of list that known does not know and that are not in the queue, be it under another inode.
func unknown(list []relative, known *knownFiles, queue []*logFile) []*logFile {
	var fresh []*logFile
	for _, r := range list {
		held := slices.ContainsFunc(queue, func(q *logFile) bool {
			return q.id == r.id || r.beginsAs(q.head) || r.holdsStartOf(q)
		})
		if !held && (known == nil || !known.has(r.logFile)) {
			fresh = append(fresh, r.logFile)
		}
	}
	return fresh
}

// at is where f is among the rotated files, maybe packed by now; -1: it is not.
func (m *family) at(f *logFile) int {
	if i := slices.IndexFunc(m.rotated, func(r relative) bool { return r.id == f.id }); i >= 0 {
		return i
	}
	return slices.IndexFunc(m.rotated, func(r relative) bool { return r.packed && r.holdsStartOf(f) })
}

// before are those that were rotated before f, which may be live.
func (m *family) before(f *logFile) []relative {
	if at := m.at(f); at >= 0 {
		return m.rotated[:at]
	}
	return m.rotated
}

// behind are those that were rotated after f. Where f is not among them, all may be.
func (m *family) behind(f *logFile) []relative { return m.rotated[m.at(f)+1:] }

// since are those that were changed after t, and the file id if that was changed at t.
func (m *family) since(t time.Time, id fileID) []*logFile {
	var list []*logFile
	for _, r := range m.rotated {
		if r.touched.After(t) || r.id == id && r.touched.Equal(t) {
			list = append(list, r.logFile)
		}
	}
	return list
}

// has tells whether there is a file with this inode.
func (m *family) has(id fileID) bool {
	return m.live != nil && m.live.id == id || slices.ContainsFunc(m.rotated, func(r relative) bool { return r.id == id })
}

// search looks for the file that the position is in, which is told by the bytes before it, and moves that there. It
// returns the file and those that follow it, oldest first, without the live one. With foundNot it is gone, or nothing was
// read of it yet.
func (m *family) search(ctx context.Context, p *syslogPosition) (*logFile, found, []*logFile, error) {
	best, how := (*logFile)(nil), foundNot
	if p.Offset == 0 {
		return nil, how, nil, nil
	}
	for _, f := range m.candidates(p.fileID) {
		is, err := f.find(ctx, p.anchor)
		if err != nil {
			return nil, foundNot, nil, fmt.Errorf("look for the saved position: %w", err)
		}
		if is == foundHere {
			return f, is, m.follow(f), nil
		}
		if is > how {
			best, how = f, is
		}
	}
	if best == nil {
		return nil, foundNot, nil, nil
	}
	return best, how, m.follow(best), nil
}

// candidates are the files that a position may be in, the most likely first: by the inode, then the live file, then the
// plain ones, newest first, then the packed ones, which take the longest.
func (m *family) candidates(id fileID) []*logFile {
	var same, plain, packed []*logFile
	list := append(files(m.rotated), m.other, m.live)
	for _, f := range slices.Backward(list) {
		switch {
		case f == nil:
		case f.id == id:
			same = append(same, f)
		case f.packed:
			packed = append(packed, f)
		default:
			plain = append(plain, f)
		}
	}
	return slices.Concat(same, plain, packed)
}

// follow are the rotated files that came after f.
func (m *family) follow(f *logFile) []*logFile {
	switch {
	case f == m.live:
		return nil
	case f == m.other: // its name tells nothing
		return m.since(f.touched, fileID{})
	}
	return files(m.behind(f))
}
