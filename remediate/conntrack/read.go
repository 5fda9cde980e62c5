package conntrack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// Read reads one namespace's table: the count, the limit and the buckets, and with counters also what was refused. A
// reading whose counters cannot be had at all is Blind; its count then may be zero for want of anything better.
//
// It returns ErrGone for a namespace that is gone or that Discover has not found, and ErrNotLoaded or ErrTooOld where
// there is no table. The own namespace costs about 5 µs, 9 with counters on two CPUs; another the same, and with
// counters 50 through a process or 150 by a visit.
func (t *Table) Read(inode uint64, counters bool) (remediate.Reading, error) {
	s, ok := t.spaces[inode]
	if !ok {
		return remediate.Reading{}, fmt.Errorf("read network namespace %d: %w", inode, ErrGone)
	}
	if err := t.openFiles(); err != nil {
		return remediate.Reading{}, err
	}
	r := remediate.Reading{At: t.now(), NetNS: s.ns}
	if v, ok := t.visited[inode]; ok && counters {
		r.At = v.at
	}
	err := t.readLimits(&r)
	switch {
	case err != nil:
	case inode == t.own:
		err = t.readOwn(&r, s, counters)
	default:
		err = t.readOther(&r, s, counters)
	}
	if err != nil {
		return remediate.Reading{}, err
	}
	return r, nil
}

// sharedLimits are the numbers that all namespaces share, once they have been read.
type sharedLimits struct {
	max, buckets uint64
	read         bool
}

// Together runs read, in which all readings share the limit and the buckets as the first of them finds them: with many
// namespaces that halves what a look at them costs. Nothing that changes the limit may be done in it.
func (t *Table) Together(read func()) {
	t.shared = &sharedLimits{}
	defer func() { t.shared, t.visited = nil, nil }()
	read()
}

// readLimits reads the two numbers that all namespaces share.
func (t *Table) readLimits(r *remediate.Reading) (err error) {
	if s := t.shared; s != nil && s.read {
		r.Max, r.Buckets = s.max, s.buckets
		return nil
	}
	if r.Max, err = t.numberIn(t.files.max); err == nil {
		r.Buckets, err = t.numberIn(t.files.buckets)
	}
	if err == nil && t.shared != nil {
		*t.shared = sharedLimits{r.Max, r.Buckets, true}
	}
	return t.unloaded(err)
}

// Limit reads the limit that all namespaces share.
func (t *Table) Limit() (uint64, error) {
	if s := t.shared; s != nil && s.read {
		return s.max, nil
	}
	if err := t.openFiles(); err != nil {
		return 0, err
	}
	limit, err := t.numberIn(t.files.max)
	return limit, t.unloaded(err)
}

// unloaded turns the error of a kept file whose module was removed into ErrNotLoaded, and closes the files, so that
// they are opened again when it is back. It then counts from zero.
func (t *Table) unloaded(err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, s := range t.spaces {
		s.meter.restart()
	}
	t.restarted = true
	return errors.Join(ErrNotLoaded, t.closeFiles())
}

// Restarted tells, once, that the module was removed since the last call. Another one may be there already, with its
// default limit and counters that begin at zero.
func (t *Table) Restarted() bool {
	was := t.restarted
	t.restarted = false
	return was
}

func (t *Table) readOwn(r *remediate.Reading, s *space, counters bool) (err error) {
	if r.Count, err = t.numberIn(t.files.count); err != nil {
		return t.unloaded(err)
	}
	if !counters {
		return nil
	}
	if t.files.stat == nil {
		r.Blind = true
		return nil
	}
	if err := t.readStat(t.files.stat); err != nil {
		return err
	}
	take(r, s, &t.stat)
	return nil
}

// readOther reads another namespace: its count from the kept file, its counters through a process or by a visit.
func (t *Table) readOther(r *remediate.Reading, s *space, counters bool) (err error) {
	if s.count != nil {
		if r.Count, err = t.numberIn(s.count); errors.Is(err, fs.ErrNotExist) {
			t.drop(s)
			return fmt.Errorf("read network namespace %d: %w", s.ns.Inode, ErrGone)
		} else if err != nil {
			return err
		}
		if !counters {
			return nil
		}
	}
	from := &t.stat
	if v, ok := t.visited[s.ns.Inode]; ok {
		delete(t.visited, s.ns.Inode) // a second reading is to see more
		from = &v.stat
	} else if err := t.readCounters(s); errors.Is(err, ErrGone) {
		return err
	} else if err != nil {
		r.Blind = true
		return nil
	}
	if s.count == nil {
		r.Count = from.entries
	}
	take(r, s, from)
	return nil
}

// CountsChains tells whether the kernel counts what it refuses on long hash chains, as far as counters were read yet.
func (t *Table) CountsChains() bool { return t.stat.chains }

// take puts the counters just read into the reading.
func take(r *remediate.Reading, s *space, from *stat) {
	s.meter.add(from.rows)
	r.Counters, r.CountersOK = s.meter.counters(), true
}

// wayAgain is how long a namespace that no way leads into, such as one whose mount another one hides, is left alone while
// it is seen as before: to look around for each reading would cost far more than all others together.
const wayAgain = 10 * time.Second

var errNoWay = errors.New("no way in")

// readCounters reads the counters of another namespace into t.stat. Where no known way leads in any more, it looks
// around for a new one; that shows too if the namespace is gone.
func (t *Table) readCounters(s *space) error {
	if since := t.now().Sub(s.noWay); 0 <= since && since < wayAgain {
		return errNoWay
	}
	err := t.reach(s)
	if err == nil || errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err := t.lookAround(); err != nil {
		return err
	}
	if t.spaces[s.ns.Inode] != s {
		return fmt.Errorf("read network namespace %d: %w", s.ns.Inode, ErrGone)
	}
	if err = t.reach(s); err != nil {
		s.noWay = t.now()
	}
	if errors.Is(err, ErrGone) {
		return fmt.Errorf("read network namespace %d: %w", s.ns.Inode, errNoWay)
	}
	return err
}

// reach reads the counters through a process, which is cheaper, or else by a visit.
func (t *Table) reach(s *space) error {
	for _, pid := range s.pids {
		if t.readByProcess(s.ns.Inode, pid) == nil {
			return nil
		}
	}
	return t.visits.inside(func() error { return t.readInside(s) })
}

// readByProcess reads through a process's /proc, which needs no capability where the process may be looked at. The
// process must still be in the namespace.
func (t *Table) readByProcess(inode uint64, pid int) error {
	handle := fmt.Sprintf("proc/%d/", pid)
	link, err := t.root.Readlink(handle + "ns/net")
	if err != nil {
		return err
	}
	if now, ok := netInode(link); !ok || now != inode {
		return ErrGone
	}
	return t.readStatAt(handle + "net/stat/nf_conntrack")
}

func (t *Table) readStatAt(name string) error {
	file, err := t.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(t.readStat(file), file.Close())
}

// readStat reads and parses the kernel's table of counters, from its start, into t.stat.
func (t *Table) readStat(file *os.File) error {
	size := 0
	for {
		n, err := pread(file, t.buf[size:], int64(size))
		if err != nil {
			return &os.PathError{Op: "read", Path: file.Name(), Err: err}
		}
		if n == 0 && size < len(t.buf) {
			break
		}
		if size += n; size == len(t.buf) { // many CPUs
			t.buf = append(t.buf, make([]byte, len(t.buf))...)
		}
	}
	if err := t.stat.parse(t.buf[:size]); err != nil {
		return fmt.Errorf("read %s: %w", file.Name(), err)
	}
	return nil
}

// closeFiles closes the own namespace's files.
func (t *Table) closeFiles() error {
	if t.files == nil {
		return nil
	}
	var errs []error
	for _, file := range []*os.File{t.files.count, t.files.max, t.files.buckets, t.files.stat} {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	t.files = nil
	return errors.Join(errs...)
}
