package remediate

import (
	"fmt"
	"time"
)

// NetNS identifies a network namespace.
type NetNS struct {
	// Inode is the namespace's number in nsfs, the one that the kernel prints (Linux 6.17 and later).
	Inode uint64 `json:"inode"`
	// Name is "init" for the first namespace (the agent's own), else the name in /run/netns, the container, the unit
	// or the process that lives in it.
	Name string `json:"name"`
	// Owner says where the name comes from: "host", "netns", "container", "unit" or "process".
	Owner string `json:"owner,omitempty"`
	// Init is true for the first namespace: the one whose limit may be written.
	Init bool `json:"-"`
}

// String names it for a person.
func (n NetNS) String() string {
	switch {
	case n.Init || n.Name == "init":
		return "init"
	case n.Name == "":
		return fmt.Sprintf("netns %d", n.Inode)
	}
	return fmt.Sprintf("%s (netns %d)", n.Name, n.Inode)
}

// Counters are a namespace's conntrack counters, summed over all CPUs and carried on over the kernel's 32-bit wraps.
// They only ever grow while the namespace lives.
type Counters struct {
	// Drop counts packets refused, because the table was full or for another verdict of conntrack's.
	Drop uint64 `json:"drop"`
	// EarlyDrop counts entries thrown out to make room. Their connections die without a message.
	EarlyDrop uint64 `json:"early_drop"`
	// InsertFailed counts entries that lost a race for their place, each of them a drop too, and those refused on a long
	// hash chain (Linux 6.1, nf_ct_resolve_clash and __nf_conntrack_confirm).
	InsertFailed uint64 `json:"insert_failed"`
	// ChainLength counts entries refused because their hash chain was too long (Linux 5.15 and later).
	ChainLength uint64 `json:"chainlength"`
	// SearchRestart counts lookups restarted because the hash changed under them.
	SearchRestart uint64 `json:"search_restart"`
}

// Plus adds what the counters rose by.
func (c Counters) Plus(grown Counters) Counters {
	return Counters{
		Drop: c.Drop + grown.Drop, EarlyDrop: c.EarlyDrop + grown.EarlyDrop, InsertFailed: c.InsertFailed + grown.InsertFailed,
		ChainLength: c.ChainLength + grown.ChainLength, SearchRestart: c.SearchRestart + grown.SearchRestart,
	}
}

// Since is what the counters rose by since they were last read. One that is smaller than then began anew.
func (c Counters) Since(last Counters) Counters {
	return Counters{
		Drop: since(last.Drop, c.Drop), EarlyDrop: since(last.EarlyDrop, c.EarlyDrop),
		InsertFailed: since(last.InsertFailed, c.InsertFailed), ChainLength: since(last.ChainLength, c.ChainLength),
		SearchRestart: since(last.SearchRestart, c.SearchRestart),
	}
}

// lostRaces is how many entries lost a race for their place.
func (c Counters) lostRaces() uint64 { return c.InsertFailed - min(c.InsertFailed, c.ChainLength) }

func since(last, now uint64) uint64 {
	if now < last {
		return now
	}
	return now - last
}

// Reading is one look at one namespace's table.
type Reading struct {
	At    time.Time
	NetNS NetNS
	// Count is the number of entries of this namespace.
	Count uint64
	// Max is the limit: one variable for the whole kernel, compared with each namespace's own count.
	Max uint64
	// Buckets is the size of the kernel's one hash table.
	Buckets uint64
	// Counters are valid only where CountersOK is true.
	Counters Counters
	// CountersOK is false where this reading did not include the counters: not permitted, or a cheap look at the
	// count alone.
	CountersOK bool
	// Blind is true where the counters of this namespace cannot be read at all, so that nothing can be verified.
	Blind bool
}

// Free is the number of entries that still fit. Zero when the table is full or over its limit.
func (r Reading) Free() uint64 {
	if r.Count >= r.Max {
		return 0
	}
	return r.Max - r.Count
}

// Fill is the share of the limit in use; 1 is full. It is 0 where the limit is 0, which old kernels take as no limit.
func (r Reading) Fill() float64 {
	if r.Max == 0 {
		return 0
	}
	return float64(r.Count) / float64(r.Max)
}

// Limits are the kernel's settings as read under all their names.
type Limits struct {
	// Max is net.netfilter.nf_conntrack_max, in entries.
	Max uint64 `json:"nf_conntrack_max"`
	// OldMax is net.nf_conntrack_max, the same variable under its other name. Zero: the name is not there.
	OldMax uint64 `json:"net_nf_conntrack_max"`
	// Buckets is net.netfilter.nf_conntrack_buckets.
	Buckets uint64 `json:"buckets"`
	// Writable is true where this process may write both names of the limit.
	Writable bool `json:"writable"`
	// BucketsWritable is true where this process may resize the hash at run time.
	BucketsWritable bool `json:"buckets_writable"`
}

// Memory is what the table may cost and what the host has.
type Memory struct {
	// Total and Available are MemTotal and MemAvailable, in bytes.
	Total     uint64 `json:"total_bytes"`
	Available uint64 `json:"available_bytes"`
	// EntryBytes is what one entry costs in the worst case: the slab's object size and its extensions.
	EntryBytes uint64 `json:"entry_bytes"`
}
