package conntrack

import (
	"bytes"
	"fmt"
	"strconv"
)

const (
	objectsFile  = "sys/kernel/slab/nf_conntrack/objects"
	slabinfoFile = "proc/slabinfo"
	// slabName is the cache of all namespaces' entries (Linux 4.7 and later; before, each had its own). Its objects may be
	// looked up while they are freed (SLAB_TYPESAFE_BY_RCU), so that the kernel never merges it with another cache.
	slabName = "nf_conntrack"
)

// Objects is how many entries the kernel has made room for and not taken back: those of all namespaces, also of those that
// nobody can see, and some that are free. A slab that a CPU keeps for itself counts as full, which makes it up to 128 for each
// CPU too many. Only root can read it, and the kernel walks its list of slabs for it: it is for rare occasions.
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

// objectsOf reads the first number of a file, or of its line that begins with a name.
func (t *Table) objectsOf(file string, name []byte) (uint64, error) {
	text, err := t.root.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if name != nil && len(fields) > 0 && bytes.Equal(fields[0], name) {
			fields = fields[1:]
		} else if name != nil {
			continue
		}
		if len(fields) > 0 {
			return strconv.ParseUint(string(fields[0]), 10, 50)
		}
	}
	return 0, fmt.Errorf("/%s does not tell", file)
}
