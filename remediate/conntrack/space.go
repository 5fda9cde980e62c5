package conntrack

import (
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// space is what is known of one namespace.
type space struct {
	ns    remediate.NetNS
	named time.Time // when the name was last looked up
	noWay time.Time // when no way led in, as it is seen now
	// sighting is where it was last seen: the ways in.
	sighting
	// count is its nf_conntrack_count, kept open: it does not keep the namespace alive. Nil: it could not be opened.
	count *os.File
	meter meter
}

// sighting is where a namespace was seen in one look around.
type sighting struct {
	mounts []mount
	pids   []int // the lowest few, rising
}

// maxPids is how many processes of a namespace are remembered.
const maxPids = 16

// files are those of the own namespace, kept open.
type files struct {
	count, max, buckets *os.File
	stat                *os.File // nil where the kernel was built without
}

// same tells whether the namespace seen now under this inode is the one known, not a new one with the inode of one that
// is gone; the kernel gives them out again at once. An open count file tells for sure. Without one, a mount or a
// process seen both times does.
func (s *space) same(now *sighting) bool {
	if s.count != nil {
		var b [1]byte
		_, err := s.count.ReadAt(b[:], 0)
		return err == nil || err == io.EOF
	}
	for _, was := range s.mounts {
		for _, is := range now.mounts {
			if was.id == is.id {
				return true
			}
		}
	}
	for _, was := range s.pids {
		for _, is := range now.pids {
			if was == is {
				return true
			}
		}
	}
	return false
}

func (s *space) close() error { return closeFile(&s.count) }

// closeFile closes a file, if it is open, and forgets it.
func closeFile(file **os.File) error {
	if *file == nil {
		return nil
	}
	err := (*file).Close()
	*file = nil
	return err
}

// nameEvery is how often the name of a namespace is looked up again where it is seen just as before: a process may
// execute something else or move to another cgroup.
const nameEvery = 10 * time.Second

// as tells whether the namespace is seen just as before.
func (s *sighting) as(now *sighting) bool {
	return slices.Equal(s.pids, now.pids) && slices.Equal(s.mounts, now.mounts)
}

// stale tells whether the name is to be looked up again. A container keeps its name while the process that gave it is
// there and the mounts are the same.
func (s *space) stale(seen *sighting, now time.Time) bool {
	samePid := len(s.pids) > 0 && len(seen.pids) > 0 && s.pids[0] == seen.pids[0] || len(s.pids)+len(seen.pids) == 0
	if !samePid || !slices.Equal(s.mounts, seen.mounts) {
		return true
	}
	since := now.Sub(s.named)
	return s.ns.Owner != ownerContainer && (since >= nameEvery || since < 0)
}

// openFiles opens the own namespace's files, if they are not open yet. It returns ErrNotLoaded or ErrTooOld where
// there are none.
func (t *Table) openFiles() error {
	if t.files != nil {
		return nil
	}
	t.files = &files{}
	for _, f := range []struct {
		name string
		file **os.File
	}{{countFile, &t.files.count}, {maxFile, &t.files.max}, {bucketsFile, &t.files.buckets}} {
		file, err := t.root.Open(f.name)
		if err != nil {
			t.closeFiles() // only closes what was read
			if os.IsNotExist(err) {
				return t.missing()
			}
			return fmt.Errorf("open the table: %w", err)
		}
		*f.file = file
	}
	if file, err := t.root.Open(statFile); err == nil {
		t.files.stat = file
	}
	return nil
}
