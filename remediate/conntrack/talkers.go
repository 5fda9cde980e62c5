package conntrack

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/remediate"
)

// mostTalkers is how many of those who hold entries a sample names.
const mostTalkers = 5

// ErrMayNotList says that the kernel does not list the table's entries to this process.
var ErrMayNotList = errors.New("listing the table's entries needs CAP_NET_ADMIN: " +
	"link remediate.conf of /usr/share/ctwarden/ctwarden.service.d, which changes no mode")

// ErrMayNotEnter says that this process may not enter that namespace.
var ErrMayNotEnter = errors.New("listing the entries of another network namespace needs CAP_SYS_ADMIN too: " +
	"link namespaces.conf of /usr/share/ctwarden/ctwarden.service.d")

// Sampler finds out who fills one namespace's table. Unlike [Table] it may be used in any goroutine, one at a time.
type Sampler struct {
	visitor
	inode uint64
	own   bool
	seen  sighting
}

// Sampler is for a namespace as it was last seen. It returns ErrGone for one that is not known.
func (t *Table) Sampler(inode uint64) (*Sampler, error) {
	s, ok := t.spaces[inode]
	if !ok {
		return nil, fmt.Errorf("list the entries of network namespace %d: %w", inode, ErrGone)
	}
	return &Sampler{visitor: visitor{root: t.root}, inode: inode, own: inode == t.own, seen: s.sighting}, nil
}

// Top is who sent the first packets of the table's entries: the five addresses that hold most of them, the first with the
// most. Of a table too large for that it takes a part, whose entries are a random choice, since the hash that they are in
// is keyed; the numbers are then those of count entries. It takes some 50 ms at most, in pieces of some fifty entries.
//
// It returns ErrMayNotList or ErrMayNotEnter where the process lacks a capability, and ErrGone for a namespace that is gone.
func (s *Sampler) Top(count uint64) ([]remediate.Talker, error) {
	d, err := s.list(count, sampleTime)
	if errors.Is(err, ErrMayNotEnter) || errors.Is(err, ErrMayNotList) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("list the entries of network namespace %d: %w", s.inode, err)
	}
	return d.top(count), nil
}

// list reads a table of some count entries, or a part of it.
func (s *Sampler) list(count uint64, within time.Duration) (d dump, err error) {
	fd, err := s.open()
	if err != nil {
		return d, err
	}
	defer unix.Close(fd)
	d.sources = make([]source, 0, min(count+count/8, sampleEntries))
	if _, err := unix.Write(fd, dumpRequest()); err != nil {
		return d, fmt.Errorf("ask for the entries: %w", err)
	}
	err = d.run(func(to []byte) (int, error) { return unix.Read(fd, to) }, time.Now().Add(within))
	if errors.Is(err, fs.ErrPermission) {
		return d, ErrMayNotList
	}
	return d, err
}

// open opens the socket in the namespace, and is back in its own before it is used.
func (s *Sampler) open() (fd int, err error) {
	if s.own {
		return openDump()
	}
	err = s.inside(func() error {
		if err := s.enter(s.inode, s.seen); errors.Is(err, fs.ErrPermission) {
			return ErrMayNotEnter
		} else if errors.Is(err, fs.ErrNotExist) { // its last process ended
			return fmt.Errorf("enter network namespace %d: %w", s.inode, ErrGone)
		} else if err != nil {
			return err
		}
		var err error
		fd, err = openDump()
		return err
	})
	return fd, err
}

// holder is an address with its entries.
type holder struct {
	source
	entries uint64
}

// top names those who hold most entries, of a table of count.
func (d *dump) top(count uint64) []remediate.Talker {
	most := d.holders()
	out := make([]remediate.Talker, 0, len(most))
	for _, h := range most {
		entries := h.entries
		if part := !d.done || d.torn; part {
			entries = max(entries*count/d.entries, 1)
		}
		out = append(out, remediate.Talker{Address: netip.AddrFrom16(h.source).Unmap().String(), Entries: entries})
	}
	return out
}

// holders are the addresses with the most entries, the first with the most.
func (d *dump) holders() (most []holder) {
	slices.SortFunc(d.sources, func(a, b source) int { return bytes.Compare(a[:], b[:]) })
	for rest := d.sources; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n] == rest[0] {
			n++
		}
		h := holder{rest[0], uint64(n)}
		rest = rest[n:]
		at, _ := slices.BinarySearchFunc(most, h, func(a, b holder) int {
			return cmp.Or(cmp.Compare(b.entries, a.entries), bytes.Compare(a.source[:], b.source[:]))
		})
		if at < mostTalkers {
			most = slices.Insert(most, at, h)
			most = most[:min(len(most), mostTalkers)]
		}
	}
	return most
}
