package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// The layout of a bbolt file, which has been fixed since 2013 (go.etcd.io/bbolt/internal/common). Integers are in the
// byte order of the machine.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHeader  = 16 // id u64, flags u16, count u16, overflow u32
	elementSize = 16 // branch: pos u32, ksize u32, page u64; leaf: flags u32, pos u32, ksize u32, vsize u32
	metaSize    = 64 // magic, version, pageSize, flags u32; root u64, sequence u64; freelist, high, txid, checksum u64
	bucketSize  = 16 // root u64, sequence u64; an inline page follows where root is 0

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagFreelist = 0x10

	leafBucket = 0x01

	maxDepth = 32
)

// pageCheck walks all pages that the newest header reaches, once.
type pageCheck struct {
	r        io.ReaderAt
	pageSize uint64
	// high is the first page number that is not in use.
	high uint64
	seen map[uint64]bool
	// small, where it is not nil, is given what the small buckets hold, and the others are left out.
	small *small
}

// checkPages tells whether a bbolt file of the given size is sound in structure: every page in bounds, of the right
// kind, reached once, its keys in order, and no page both used and free. It returns a note where one of the two
// headers is bad, which a power failure in the middle of a commit leaves behind and which is harmless.
//
// With only, it is about the pages alone that the small buckets need. Also then none of them may be listed as free: what a
// damaged reference leads to could be an older page, whose content is sound.
func checkPages(r io.ReaderAt, size int64, only *small) (note string, err error) {
	m, note, err := newestMeta(r, size)
	if err != nil {
		return "", err
	}
	if m.high < 4 || m.high > uint64(size)/m.pageSize {
		return note, fmt.Errorf("%d pages of %d bytes do not fit the file's %d bytes", m.high, m.pageSize, size)
	}
	c := &pageCheck{r: r, pageSize: m.pageSize, high: m.high, seen: map[uint64]bool{0: true, 1: true}, small: only}
	if err := c.tree(m.root, nil, nil, 0); err != nil {
		return note, err
	}
	return note, c.freelist(m.freelist)
}

// checkFreelist tells whether the page that lists the free ones can have the size that it says. bbolt gives it up with
// each commit, page by page, and a damaged size would keep it at that for hours, in ever more memory.
func checkFreelist(r io.ReaderAt, size int64) error {
	m, _, err := newestMeta(r, size)
	if err != nil {
		return err
	}
	c := &pageCheck{r: r, pageSize: m.pageSize, high: m.high, seen: map[uint64]bool{}}
	if _, err := c.load(m.freelist); err != nil {
		return fmt.Errorf("list of free pages: %w", err)
	}
	return nil
}

type meta struct {
	pageSize, root, freelist, high, txid uint64
}

// newestMeta reads the two headers and returns the one that bbolt will use.
func newestMeta(r io.ReaderAt, size int64) (m meta, note string, err error) {
	first, err0 := readMeta(r, 0, 0)
	second, err1 := meta{}, err0
	if err0 == nil {
		second, err1 = readMeta(r, 1, int64(first.pageSize))
	} else { // the page size is not known: the machine's, or any
		for size := int64(1024); size <= 1<<16 && err1 != nil; size *= 2 {
			second, err1 = readMeta(r, 1, size)
		}
	}
	switch {
	case errors.Is(err0, errMisplaced) || errors.Is(err1, errMisplaced):
		return meta{}, "", errMisplaced
	case err0 != nil && err1 != nil:
		return meta{}, "", fmt.Errorf("not a state file, or both of its headers are damaged: %w", err0)
	case err0 != nil:
		return second, "one of its two headers is bad (a crash in the middle of a write); the other one is used", nil
	case err1 != nil:
		return first, "one of its two headers is bad (a crash in the middle of a write); the other one is used", nil
	case second.txid > first.txid:
		return second, "", nil
	}
	return first, "", nil
}

// errMisplaced says that a sound header stands where the other one belongs. No crash does that, and bbolt would not
// notice: it could go back to an older state in silence.
var errMisplaced = errors.New("a header stands in the place of the other")

func readMeta(r io.ReaderAt, id uint64, at int64) (meta, error) {
	whole := make([]byte, pageHeader+metaSize)
	if _, err := r.ReadAt(whole, at); err != nil {
		return meta{}, fmt.Errorf("header at %d: %w", at, err)
	}
	b := whole[pageHeader:]
	u32, u64 := binary.NativeEndian.Uint32, binary.NativeEndian.Uint64
	if u32(b) != boltMagic || u32(b[4:]) != boltVersion {
		return meta{}, fmt.Errorf("header at %d: wrong mark", at)
	}
	sum := fnv.New64a()
	sum.Write(b[:56])
	if sum.Sum64() != u64(b[56:]) {
		return meta{}, fmt.Errorf("header at %d: wrong checksum", at)
	}
	if parsePage(whole).id != id {
		return meta{}, errMisplaced
	}
	m := meta{pageSize: uint64(u32(b[8:])), root: u64(b[16:]), freelist: u64(b[32:]), high: u64(b[40:]), txid: u64(b[48:])}
	if m.pageSize < 1024 || m.pageSize > 1<<16 || m.pageSize&(m.pageSize-1) != 0 {
		return meta{}, fmt.Errorf("header at %d: page size %d", at, m.pageSize)
	}
	return m, nil
}

// page is one page with its overflow, header included.
type page struct {
	id    uint64
	flags uint16
	count int
	data  []byte
}

func parsePage(b []byte) page {
	return page{
		id: binary.NativeEndian.Uint64(b), flags: binary.NativeEndian.Uint16(b[8:]),
		count: int(binary.NativeEndian.Uint16(b[10:])), data: b,
	}
}

// load reads a page that nothing has led to yet, and takes note of it.
func (c *pageCheck) load(id uint64) (page, error) {
	head := make([]byte, pageHeader)
	if id < 2 || id >= c.high {
		return page{}, fmt.Errorf("page %d is out of bounds", id)
	}
	if _, err := c.r.ReadAt(head, int64(id*c.pageSize)); err != nil {
		return page{}, fmt.Errorf("page %d: %w", id, err)
	}
	if got := parsePage(head).id; got != id {
		return page{}, fmt.Errorf("page %d calls itself %d", id, got)
	}
	n := uint64(binary.NativeEndian.Uint32(head[12:])) + 1
	if n > c.high-id {
		return page{}, fmt.Errorf("page %d: %d pages long, beyond the end", id, n)
	}
	for i := range n {
		if c.seen[id+i] {
			return page{}, fmt.Errorf("page %d is used twice", id+i)
		}
		c.seen[id+i] = true
	}
	b := make([]byte, n*c.pageSize)
	if _, err := c.r.ReadAt(b, int64(id*c.pageSize)); err != nil {
		return page{}, fmt.Errorf("page %d: %w", id, err)
	}
	return parsePage(b), nil
}

// tree checks a page and all below it. Its keys must lie in [low, high); nil means no bound.
func (c *pageCheck) tree(id uint64, low, high []byte, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("page %d: nested too deep", id)
	}
	p, err := c.load(id)
	if err != nil {
		return err
	}
	switch p.flags {
	case flagBranch:
		return c.branch(p, low, high, depth)
	case flagLeaf:
		return c.leaf(p, low, high, depth)
	}
	return fmt.Errorf("page %d: unknown kind %#x", id, p.flags)
}

func (c *pageCheck) branch(p page, low, high []byte, depth int) error {
	if p.count == 0 {
		return fmt.Errorf("page %d: a branch without children", p.id)
	}
	keys, children := make([][]byte, p.count), make([]uint64, p.count)
	for i := range p.count {
		e, at, err := p.element(i)
		if err != nil {
			return err
		}
		pos, size := binary.NativeEndian.Uint32(e), binary.NativeEndian.Uint32(e[4:])
		if keys[i], err = p.slice(at, pos, size); err != nil {
			return err
		}
		children[i] = binary.NativeEndian.Uint64(e[8:])
	}
	if err := inOrder(p.id, keys, low, high); err != nil {
		return err
	}
	for i, child := range children {
		end := high
		if i+1 < len(keys) {
			end = keys[i+1]
		}
		if err := c.tree(child, keys[i], end, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (c *pageCheck) leaf(p page, low, high []byte, depth int) error {
	keys := make([][]byte, p.count)
	for i := range p.count {
		e, at, err := p.element(i)
		if err != nil {
			return err
		}
		flags, pos := binary.NativeEndian.Uint32(e), binary.NativeEndian.Uint32(e[4:])
		ksize, vsize := binary.NativeEndian.Uint32(e[8:]), binary.NativeEndian.Uint32(e[12:])
		both, err := p.slice(at, pos, ksize, vsize)
		if err != nil {
			return err
		}
		keys[i] = both[:ksize]
		switch flags {
		case 0:
			c.small.take(keys[i], both[ksize:])
		case leafBucket:
			if !c.small.enter(keys[i]) {
				continue
			}
			if err := c.bucket(p.id, both[ksize:], depth+1); err != nil {
				return err
			}
			c.small.leave()
		default:
			return fmt.Errorf("page %d: element %d of unknown kind %#x", p.id, i, flags)
		}
	}
	return inOrder(p.id, keys, low, high)
}

// bucket checks a bucket inside a leaf: a reference to its root page, or a small page of its own within the value.
func (c *pageCheck) bucket(in uint64, v []byte, depth int) error {
	if len(v) < bucketSize {
		return fmt.Errorf("page %d: a bucket of %d bytes", in, len(v))
	}
	if root := binary.NativeEndian.Uint64(v); root != 0 {
		return c.tree(root, nil, nil, depth)
	}
	if len(v) < bucketSize+pageHeader {
		return fmt.Errorf("page %d: an inline bucket of %d bytes", in, len(v))
	}
	p := parsePage(v[bucketSize:])
	p.id = in
	if p.flags != flagLeaf || depth > maxDepth {
		return fmt.Errorf("page %d: an inline bucket of kind %#x", in, p.flags)
	}
	return c.leaf(p, nil, nil, depth)
}

func (p page) element(i int) (e []byte, at int, err error) {
	at = pageHeader + i*elementSize
	if at+elementSize > len(p.data) {
		return nil, 0, fmt.Errorf("page %d: %d elements do not fit", p.id, p.count)
	}
	return p.data[at : at+elementSize], at, nil
}

// slice gives the bytes of the given sizes at pos behind the element at at.
func (p page) slice(at int, pos uint32, sizes ...uint32) ([]byte, error) {
	start := uint64(at) + uint64(pos)
	end := start
	for _, n := range sizes {
		end += uint64(n)
	}
	if start < uint64(pageHeader+p.count*elementSize) || end > uint64(len(p.data)) {
		return nil, fmt.Errorf("page %d: an element lies outside of it", p.id)
	}
	return p.data[start:end:end], nil
}

func inOrder(id uint64, keys [][]byte, low, high []byte) error {
	for i, k := range keys {
		if len(k) == 0 { // bbolt writes none, and panics where it finds one
			return fmt.Errorf("page %d: an empty key", id)
		}
		if i > 0 && bytes.Compare(keys[i-1], k) >= 0 {
			return fmt.Errorf("page %d: keys out of order", id)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	if low != nil && bytes.Compare(keys[0], low) < 0 || high != nil && bytes.Compare(keys[len(keys)-1], high) >= 0 {
		return fmt.Errorf("page %d: keys out of the bounds that its parent gives", id)
	}
	return nil
}

// freelist checks that the pages listed as free are in bounds, listed once, and not in use.
func (c *pageCheck) freelist(id uint64) error {
	p, err := c.load(id)
	if err != nil {
		return fmt.Errorf("list of free pages: %w", err)
	}
	if p.flags != flagFreelist {
		return errors.New("list of free pages: it is another kind of page")
	}
	ids, n := p.data[pageHeader:], uint64(p.count)
	if n == 0xFFFF { // too many for the header: the number stands before the list
		n, ids = binary.NativeEndian.Uint64(ids), ids[8:]
	}
	if n > uint64(len(ids)/8) {
		return fmt.Errorf("list of free pages: %d do not fit", n)
	}
	for i := range n {
		free := binary.NativeEndian.Uint64(ids[i*8:])
		if free < 2 || free >= c.high || c.seen[free] {
			return fmt.Errorf("list of free pages: page %d is out of bounds, in use or listed twice", free)
		}
		c.seen[free] = true
	}
	return nil
}
