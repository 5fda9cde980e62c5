package conntrack

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/ctwarden/ctwarden/remediate"
)

const (
	meminfoFile = "proc/meminfo"
	slabFile    = "sys/kernel/slab/nf_conntrack/slab_size"

	// defaultSlab is an entry's size where the kernel does not tell: the largest of the usual builds.
	defaultSlab = 320
	// extensions is what an entry's extensions cost at most (accounting, time stamps, labels, NAT): kmalloc-256.
	extensions = 256
	// maxSlab bounds what is believed.
	maxSlab = 1 << 16
)

// Memory reads what the host has and what one entry costs in the worst case. It does not need the module. The size of
// an entry is readable for root only; others get the usual one.
func (t *Table) Memory() (remediate.Memory, error) {
	text, err := t.root.ReadFile(meminfoFile)
	if err != nil {
		return remediate.Memory{}, fmt.Errorf("read the memory: %w", err)
	}
	memory := parseMeminfo(text)
	if memory.Total == 0 {
		return remediate.Memory{}, fmt.Errorf("read the memory: no MemTotal in /%s", meminfoFile)
	}
	slab, err := t.number(slabFile)
	if err != nil || slab == 0 || slab > maxSlab {
		slab = defaultSlab
	}
	memory.EntryBytes = slab + extensions
	return memory, nil
}

// parseMeminfo reads the sizes, which the kernel gives in KiB. MemAvailable came with Linux 3.14; before it, what is
// free and what the page cache holds is the best guess.
func parseMeminfo(text []byte) remediate.Memory {
	sizes := map[string]uint64{}
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) < 2 {
			continue
		}
		if n, err := strconv.ParseUint(string(fields[1]), 10, 50); err == nil {
			sizes[string(fields[0])] = n * 1024
		}
	}
	available, ok := sizes["MemAvailable:"]
	if !ok {
		available = sizes["MemFree:"] + sizes["Buffers:"] + sizes["Cached:"]
	}
	return remediate.Memory{Total: sizes["MemTotal:"], Available: available}
}
