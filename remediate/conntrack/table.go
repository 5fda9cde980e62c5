package conntrack

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// ErrNotLoaded says that the kernel's module is not loaded (any more), so that there is no table. It is no fault: a
// host whose firewall is not up yet has none.
var ErrNotLoaded = errors.New("connection tracking is not loaded: " +
	"load it with \"modprobe nf_conntrack\", or wait until a firewall rule that needs it does")

// ErrTooOld says that this kernel has the table under its names of before 2.6.20 only.
var ErrTooOld = errors.New("this kernel only knows ip_conntrack (before Linux 2.6.20); ctwarden needs nf_conntrack: " +
	"set the limit by hand, or update the kernel")

// ErrGone says that the namespace is not there (any more).
var ErrGone = errors.New("the network namespace is gone")

// Table is the kernel's connection-tracking table. It is for one goroutine at a time: readings share a buffer.
type Table struct {
	root *os.Root
	now  func() time.Time
	// sysNet is the directory of the settings; nil until one was opened.
	sysNet *os.Root
	own    uint64 // the inode of the agent's own namespace
	// files are those of the own namespace; nil until they were there.
	files  *files
	spaces map[uint64]*space
	// replaced are the inodes that were other namespaces' at the last Discover, untold what it has not told of yet.
	replaced []uint64
	untold   untold
	mounts   mountTable
	proc     *os.File // /proc itself, open from the first look around on
	glance   glance
	room     room
	namer    namer
	// shared are the numbers that all namespaces share, while Together runs; nil: each reading has its own.
	shared *sharedLimits
	// visited has the counters that were read beforehand, while Together runs.
	visited map[uint64]visited
	// restarted is set where the kept files turned out to be of a module that was removed, see Restarted.
	restarted bool
	visits    visitor
	buf       []byte
	stat      stat
}

// Open opens the table below root, "/" in use. now is asked for the time of each reading. It is no error if the module
// is not loaded; then Limits and Read return ErrNotLoaded until it is.
func Open(root string, now func() time.Time) (*Table, error) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open the root of the kernel's files: %w", err)
	}
	t := &Table{root: dir, visits: visitor{root: dir}, now: now, spaces: map[uint64]*space{}, buf: make([]byte, 4096)}
	link, err := dir.Readlink("proc/self/ns/net")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find this process's network namespace: %w", err), dir.Close())
	}
	inode, ok := netInode(link)
	if !ok {
		return nil, errors.Join(fmt.Errorf("find this process's network namespace: it reads %q", link), dir.Close())
	}
	t.own = inode
	t.spaces[inode] = &space{ns: remediate.NetNS{Inode: inode, Name: "init", Owner: "host", Init: true}}
	return t, nil
}

// Own is the namespace that this process lives in. It is known without Discover.
func (t *Table) Own() remediate.NetNS { return t.spaces[t.own].ns }

// Close closes all files. The table is not to be used afterwards.
func (t *Table) Close() error {
	errs := []error{t.closeFiles(), t.mounts.close(), t.glance.close(), closeFile(&t.room.file), closeFile(&t.proc)}
	if t.sysNet != nil {
		errs = append(errs, t.sysNet.Close())
		t.sysNet = nil
	}
	for _, s := range t.spaces {
		errs = append(errs, s.close())
	}
	return errors.Join(append(errs, t.root.Close())...)
}
