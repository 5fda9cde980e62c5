package persist

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/remediate"
)

// Host is what root itself knows of this host, which bounds what an agent may have made to last. The zero value bounds
// nothing.
type Host struct {
	// Boot is the limit in entries that the next boot brings without our file, and BootBy who sets it then. 0: unknown.
	Boot   uint64
	BootBy string
	// BootBuckets is the size of the hash that it brings; 0: unknown.
	BootBuckets uint64
	// Entries is how many entries the fullest table has now.
	Entries uint64
	// Memory has what an entry costs; EntryBytes is 0 where that is unknown.
	Memory remediate.Memory
	// Chains says on how long a hash chain the kernel refuses an insert, which is what a hash is sized by.
	Chains remediate.Chains
}

// within refuses a limit that the host would be worse off with than without our file, whoever asks.
func (h Host) within(to uint64) error {
	switch {
	case to < h.Entries:
		return refuse(CodeBelow, "%d is less than the %d entries that a table has now", to, h.Entries)
	case to < h.Boot:
		return refuse(CodeBelow, "%d is less than the %d that the next boot brings without ctwarden (%s); where less is meant, "+
			"set it in a file of your own in /etc/sysctl.d", to, h.Boot, h.BootBy)
	}
	return nil
}

// affords refuses a limit that does not fit the share of memory that root's configuration allows.
func (h Host) affords(p remediate.Policy, to uint64) error {
	if h.Memory.EntryBytes == 0 {
		return nil
	}
	m := h.Memory
	m.Available = m.Total // what is free now is not what is free at the next boot
	s := remediate.Situation{Memory: m, Chains: h.Chains}
	if most := remediate.MemoryBound(p, s, to); most < to {
		return refuse(CodeMemory, "%d does not fit remediate.memory_share; up to %d does", to, most)
	}
	return nil
}

// hash is the size of the hash that may be made to last; 0: it is left alone. It is one that ctwarden has sized, for the
// ceiling at most, and not smaller than what the boot brings.
func (h Host) hash(p remediate.Policy, buckets uint64) uint64 {
	if buckets > h.Chains.PresizedBuckets(p.Ceiling) || buckets < h.BootBuckets {
		return 0
	}
	return buckets
}

// lockWithin is how long a request waits for the one before it to be done.
const lockWithin = 500 * time.Millisecond

// lock takes the lock of the helpers of this host, so that two of them do not interleave. It goes with the process.
func lock(dir string) (unlock func(), err error) {
	if dir == "" {
		return func() {}, nil
	}
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	for deadline := time.Now().Add(lockWithin); ; {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR || time.Now().After(deadline) {
			file.Close()
			return nil, fmt.Errorf("another request is under way: %w", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
