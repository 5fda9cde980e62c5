package conntrack

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/remediate"
)

// The kernel's files, below the root. maxFile and oldMaxFile are two names of one variable.
const (
	countFile   = "proc/sys/net/netfilter/nf_conntrack_count"
	maxFile     = "proc/sys/net/netfilter/nf_conntrack_max"
	oldMaxFile  = "proc/sys/net/nf_conntrack_max"
	bucketsFile = "proc/sys/net/netfilter/nf_conntrack_buckets"
	statFile    = "proc/net/stat/nf_conntrack"
)

// ancient are the names of the limit before nf_conntrack.
var ancient = [...]string{"proc/sys/net/ipv4/ip_conntrack_max", "proc/sys/net/ipv4/netfilter/ip_conntrack_max"}

// Limits reads the settings under all their names, and whether this process may write them. It writes nothing: the
// files are opened for writing and closed. It returns ErrNotLoaded or ErrTooOld where there are none.
func (t *Table) Limits() (remediate.Limits, error) {
	if err := t.openFiles(); err != nil {
		return remediate.Limits{}, err
	}
	var limits remediate.Limits
	var err error
	if limits.Max, err = t.numberIn(t.files.max); err == nil {
		limits.Buckets, err = t.numberIn(t.files.buckets)
	}
	if err != nil {
		return remediate.Limits{}, t.unloaded(err)
	}
	limits.Writable = t.writable(maxFile)
	limits.BucketsWritable = t.writable(bucketsFile)
	limits.OldMax, err = t.numberOf(t.openSetting(oldMaxFile, os.O_RDONLY))
	if errors.Is(err, fs.ErrNotExist) { // outside the first namespace
		return limits, nil
	}
	limits.Writable = limits.Writable && t.writable(oldMaxFile)
	return limits, err
}

// missing tells why there is no table.
func (t *Table) missing() error {
	for _, name := range ancient {
		if n, err := t.number(name); err == nil {
			return fmt.Errorf("/%s is %d: %w", name, n, ErrTooOld)
		}
	}
	return ErrNotLoaded
}

// writable opens the file for writing and writes nothing: that is the kernel's own check, with all its rules about
// capabilities, namespaces and mounts.
func (t *Table) writable(name string) bool {
	file, err := t.openSetting(name, os.O_WRONLY)
	if err != nil {
		return false
	}
	return file.Close() == nil
}

// sysNet is the directory of the settings. It stays open: a step is not to wait for each part of each path.
const sysNet = "proc/sys/net/"

// openSetting opens a file below sysNet.
func (t *Table) openSetting(name string, flag int) (*os.File, error) {
	if t.sysNet == nil {
		dir, err := t.root.OpenRoot(sysNet)
		if err != nil {
			return nil, err
		}
		t.sysNet = dir
	}
	return t.sysNet.OpenFile(strings.TrimPrefix(name, sysNet), flag, 0)
}

// number reads a file that holds one number.
func (t *Table) number(name string) (uint64, error) {
	file, err := t.root.Open(name)
	return t.numberOf(file, err)
}

// numberOf reads the number in a file just opened, and closes it.
func (t *Table) numberOf(file *os.File, err error) (uint64, error) {
	if err != nil {
		return 0, fmt.Errorf("read a limit: %w", err)
	}
	n, err := t.numberIn(file)
	return n, errors.Join(err, file.Close())
}

// numberIn reads the number in an open file, from its start. The kernel hands it out in one piece: [os.File.ReadAt] would
// ask for the end too, which doubles what a look at a table costs.
func (t *Table) numberIn(file *os.File) (uint64, error) {
	size, err := pread(file, t.buf[:64], 0)
	if err != nil {
		return 0, &os.PathError{Op: "read", Path: file.Name(), Err: err}
	}
	n, err := parseNumber(t.buf[:size])
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", file.Name(), err)
	}
	return n, nil
}

// pread reads from a place in one of the kernel's files with one call. ([os.File.Fd] would make another.)
//
// The call is made past Go's scheduler: these files are in the kernel's memory and cannot block, and what the scheduler
// does for a call that may (it wakes a thread up to watch over it) costs many times as much as the reading.
func pread(file *os.File, to []byte, at int64) (size int, err error) {
	conn, err := file.SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := conn.Control(func(fd uintptr) {
		for size, err = rawPread(fd, to, at); err == unix.EINTR; size, err = rawPread(fd, to, at) {
		}
	})
	return size, errors.Join(failed, err)
}

// parseNumber reads a setting. Kernels before 6.15 took more than 2³¹ and print it as a negative number.
func parseNumber(text []byte) (uint64, error) {
	n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("not a number: %q", text)
	}
	if n < 0 {
		return uint64(uint32(n)), nil
	}
	return uint64(n), nil
}
