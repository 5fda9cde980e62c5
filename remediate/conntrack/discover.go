package conntrack

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/remediate"
)

// Discover looks around for network namespaces and returns all that can be seen, the own one first, the others by
// inode: those that a file is mounted on and those that a process lives in. It forgets the ones that are gone, also
// where a new one has the inode of an old one, and opens the new ones' counts. A namespace that it does not return is
// ErrGone to Read.
//
// It costs about 2 µs a process and 20 µs a namespace; call it every 9 to 25 seconds, and when Changed says so. Processes that
// this one may not look at are passed over.
func (t *Table) Discover() ([]remediate.NetNS, error) {
	if err := t.lookAround(); err != nil {
		return nil, err
	}
	t.replaced, t.untold = t.untold.replaced, untold{}
	return t.list(), nil
}

// untold is what was found since Discover last told its caller: a reading that has to look around finds it too.
type untold struct {
	fresh    bool
	mounts   bool // others are mounted
	replaced []uint64
}

// lookAround brings t.spaces up to date.
func (t *Table) lookAround() error {
	seen, at := map[uint64]*sighting{}, t.now()
	if id, ok := t.lastID(); ok {
		t.glance.look(at, id)
	}
	if err := errors.Join(t.seeMounts(seen), t.seeProcesses(seen)); err != nil {
		return err
	}
	delete(seen, t.own)
	t.forget(seen)
	var fresh []*space
	for inode, now := range seen {
		s, known := t.spaces[inode]
		if !known {
			s = &space{}
			t.spaces[inode], t.untold.fresh = s, true
		}
		if !known || s.stale(now, at) {
			ns, best := t.name(inode, now)
			if best || !known { // else it keeps the name that it had
				s.ns = ns
			}
			s.named = at
		}
		if !s.as(now) {
			s.noWay = time.Time{}
		}
		s.sighting = *now
		if s.count == nil {
			fresh = append(fresh, s)
		}
	}
	if len(fresh) > 0 {
		t.openCounts(fresh)
	}
	return nil
}

// Replaced lists the inodes that turned out, by the last Discover and since the one before it, to be those of new namespaces
// in the place of known ones that are gone: nothing that was read of them before says anything of them now.
func (t *Table) Replaced() []uint64 { return t.replaced }

// forget drops the namespaces that are not seen any more, or whose inode is another's now.
func (t *Table) forget(seen map[uint64]*sighting) {
	for inode, s := range t.spaces {
		if inode == t.own {
			continue
		}
		now, ok := seen[inode]
		if ok && s.same(now) {
			continue
		}
		if ok {
			t.untold.replaced = append(t.untold.replaced, inode)
		}
		t.drop(s)
	}
}

// drop forgets one namespace. Closing a file that was only read cannot lose anything, so its error says nothing.
func (t *Table) drop(s *space) {
	_ = s.close()
	delete(t.spaces, s.ns.Inode)
	delete(t.visited, s.ns.Inode)
}

func (t *Table) list() []remediate.NetNS {
	all := make([]remediate.NetNS, 0, len(t.spaces))
	for _, s := range t.spaces {
		all = append(all, s.ns)
	}
	slices.SortFunc(all, func(a, b remediate.NetNS) int {
		switch {
		case a.Init:
			return -1
		case b.Init:
			return 1
		}
		return cmp.Compare(a.Inode, b.Inode)
	})
	return all
}

func (t *Table) seeMounts(seen map[uint64]*sighting) error {
	if err := t.openProc(); err != nil {
		return err
	}
	mounts, err := t.mounts.now(int(t.proc.Fd()))
	if err != nil {
		return fmt.Errorf("look for mounted namespaces: %w", err)
	}
	for _, m := range mounts {
		s := seeing(seen, m.inode)
		s.mounts = append(s.mounts, m)
	}
	return nil
}

// seeProcesses reads the link of every process. The links are read relative to the open directory, without walking
// down from the root each time: there may be thousands.
func (t *Table) seeProcesses(seen map[uint64]*sighting) error {
	if err := t.openProc(); err != nil {
		return err
	}
	if _, err := t.proc.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("look for processes: %w", err)
	}
	names, err := t.proc.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("look for processes: %w", err)
	}
	fd := int(t.proc.Fd())
	var link [64]byte
	for _, pid := range numbers(names) {
		size, err := unix.Readlinkat(fd, strconv.Itoa(pid)+"/ns/net", link[:])
		if err != nil {
			continue // ended meanwhile, or not ours to look at
		}
		inode, ok := netInode(string(link[:size]))
		if !ok || inode == t.own {
			continue
		}
		if s := seeing(seen, inode); len(s.pids) < maxPids {
			s.pids = append(s.pids, pid)
		}
	}
	return nil
}

// openProc opens /proc, once.
func (t *Table) openProc() error {
	if t.proc != nil {
		return nil
	}
	dir, err := t.root.Open("proc")
	if err != nil {
		return fmt.Errorf("look for processes: %w", err)
	}
	t.proc = dir
	return nil
}

func seeing(seen map[uint64]*sighting, inode uint64) *sighting {
	s, ok := seen[inode]
	if !ok {
		s = &sighting{}
		seen[inode] = s
	}
	return s
}

// numbers returns the names that are process ids, rising.
func numbers(names []string) []int {
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}
