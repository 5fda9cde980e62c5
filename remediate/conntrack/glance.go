package conntrack

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const loadFile = "loadavg" // below /proc

// mostYoung is how many process ids a glance looks at; where there are more, a look around is due.
const mostYoung = 256

// glance is what a glance knows from those before. Its zero value has not been taken.
type glance struct {
	// load is /proc/loadavg, which ends with the id that the kernel gave out last, to a process or thread. Nil: there is
	// none that tells.
	load *os.File
	// last is that id as of the last look of either kind, before the same as of the one before it: who had just begun then
	// may have gone into a new namespace since. Looks less than apart from each other are one.
	last, before int
	looked       time.Time
	tried        bool
}

// apart is how long a process that has begun may take at most until it is in the namespace that it stays in: it is seen
// there by the second look after its beginning.
const apart = time.Second

// look notes the id that was given out last, at a look.
func (g *glance) look(now time.Time, id int) {
	if g.last == 0 {
		g.last = id
	}
	if since := now.Sub(g.looked); since >= apart || since < 0 {
		g.before, g.last, g.looked = g.last, id, now
	}
}

// Changed tells, at a tiny part of the price of Discover, whether that would find something new: there is news. Where that
// cannot be told, told is false. What a reading found that had to look around is news until Discover has told it.
//
// It looks at what can be new: the list of mounts, and the processes that began since the last look but one. So a process
// that has lived for longer and moves into a new namespace that it makes is not noticed, and nor is one that is in a known
// namespace without a count of its own: call Discover now and then all the same.
func (t *Table) Changed() (news, told bool) {
	if t.untold.fresh || t.untold.mounts {
		return true, true
	}
	if err := t.openProc(); err != nil || !t.mounts.polled {
		return false, false
	}
	if t.mounts.news(int(t.proc.Fd())) {
		t.untold.mounts = true
		return true, true
	}
	last, ok := t.lastID()
	from := t.glance.before
	if !ok || from == 0 || last < from || last-from > mostYoung { // it begins again at the end of all ids
		return false, false
	}
	t.glance.look(t.now(), last)
	for id := from + 1; id <= last; id++ {
		if t.strange(id) {
			return true, true
		}
	}
	for inode, s := range t.spaces {
		if s.count == nil && inode != t.own {
			return false, false // an end cannot be seen
		}
	}
	return false, true
}

// strange tells whether a process or thread is in a namespace that is not known.
func (t *Table) strange(id int) bool {
	var name [32]byte
	var link [64]byte
	path := append(strconv.AppendInt(name[:0], int64(id), 10), "/ns/net\x00"...)
	size, err := rawReadlinkat(int(t.proc.Fd()), path, link[:])
	if err != nil {
		return false // ended, or not ours to look at
	}
	inode, ok := netInode(string(link[:size]))
	return ok && t.spaces[inode] == nil
}

// lastID is the id that was given out last; false: it cannot be told.
func (t *Table) lastID() (int, bool) {
	if !t.glance.tried {
		t.glance.tried = true
		t.glance.load = t.openLoad()
	}
	if t.glance.load == nil {
		return 0, false
	}
	size, err := pread(t.glance.load, t.buf[:128], 0)
	if err != nil {
		return 0, false
	}
	text := bytes.TrimSpace(t.buf[:size])
	id, err := strconv.Atoi(string(text[bytes.LastIndexByte(text, ' ')+1:]))
	return id, err == nil && id > 0
}

// openLoad opens /proc/loadavg. It returns nil where that is somebody else's make, as in some containers, or where the ids
// in it are not those of this /proc: the file tells of the reader's own PID namespace.
func (t *Table) openLoad() *os.File {
	self, err := t.root.Readlink("proc/self")
	if err != nil || self != strconv.Itoa(os.Getpid()) {
		return nil
	}
	file, err := t.root.Open("proc/" + loadFile)
	if err != nil {
		return nil
	}
	var fs unix.Statfs_t
	if unix.Fstatfs(int(file.Fd()), &fs) != nil || fs.Type != unix.PROC_SUPER_MAGIC {
		file.Close()
		return nil
	}
	return file
}

// close closes what a glance keeps open. It was only read, so that cannot lose anything.
func (g *glance) close() error {
	if g.load == nil {
		return nil
	}
	err := g.load.Close()
	*g = glance{}
	return err
}
