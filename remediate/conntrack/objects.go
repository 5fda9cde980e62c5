package conntrack

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

const (
	objectsFile  = "sys/kernel/slab/nf_conntrack/objects"
	roomFile     = "sys/kernel/slab/nf_conntrack/total_objects"
	slabinfoFile = "proc/slabinfo"
	// slabName is the cache of all namespaces' entries (Linux 4.7 and later; before, each had its own). Its objects may be
	// looked up while they are freed (SLAB_TYPESAFE_BY_RCU), so that the kernel never merges it with another cache.
	slabName = "nf_conntrack"
)

// Objects is how many entries the kernel has made room for and not taken back: those of all namespaces, also of those that
// nobody can see, and some that are free. A slab that a CPU keeps for itself counts as full, which makes it up to 128 for each
// CPU too many. Only root can read it, and those to whom root has opened it (as remediate.conf does); the kernel walks its
// list of slabs for it: it is for rare occasions.
func (t *Table) Objects() (uint64, error) {
	n, err := t.objectsOf(objectsFile, nil)
	if err != nil {
		n, err = t.objectsOf(slabinfoFile, []byte(slabName)) // the older allocator, which has no such directory
	}
	if err != nil {
		return 0, fmt.Errorf("count the kernel's entries: %w", err)
	}
	return n, nil
}

// roomAgain is how long a file that is not there is not looked for again.
const roomAgain = 10 * time.Second

// room is what is known of roomFile.
type room struct {
	file  *os.File // nil: not open
	tried time.Time
	err   error // why it is not
}

// Room is for how many entries the kernel has memory just now: those of all namespaces, also of those that nobody can
// see, are no more than that together, but for some hundred where it looks for errors of its own in that memory (KFENCE).
// It costs about as much as one count. It is an error where the kernel does not tell: with another allocator than SLUB, built
// without CONFIG_SLUB_DEBUG, and, which is one of permission, to others than those of [Table.Objects].
func (t *Table) Room() (n uint64, err error) {
	r := &t.room
	if r.file == nil {
		if since := t.now().Sub(r.tried); 0 <= since && since < roomAgain {
			return 0, r.err
		}
		r.tried = t.now()
		r.file, err = t.root.Open(roomFile)
	}
	if err == nil {
		var size int
		if size, err = pread(r.file, t.buf, 0); err == nil {
			n, err = firstNumber(t.buf[:size])
		}
	}
	if err != nil {
		closeFile(&r.file) // where it was open: the module was removed, and there may be another one
		r.err = fmt.Errorf("read for how many entries the kernel has memory: %w", err)
		return 0, r.err
	}
	return n, nil
}

// firstNumber is what a text begins with.
func firstNumber(text []byte) (uint64, error) {
	text = bytes.TrimLeft(text, " ")
	end := bytes.IndexAny(text, " \n")
	if end < 0 {
		end = len(text)
	}
	return strconv.ParseUint(string(text[:end]), 10, 50)
}

// objectsOf reads the first number of a file, or of its line that begins with a name.
func (t *Table) objectsOf(file string, name []byte) (uint64, error) {
	text, err := t.root.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		rest, named := bytes.CutPrefix(line, name)
		if n, err := firstNumber(rest); named && err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("/%s does not tell", file)
}
