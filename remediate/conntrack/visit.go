package conntrack

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// visitFile is the counters of the namespace that the reading thread is in.
const visitFile = "proc/thread-self/net/stat/nf_conntrack"

// visitor enters namespaces below a root and comes back. It is for one goroutine at a time.
type visitor struct {
	root *os.Root
	// away is true while the calling thread is in another namespace.
	away bool
}

// inside runs f, which may enter namespaces, on the calling thread, and brings that back to its own namespace. A thread
// for the purpose costs ten times as much, and while the machine is flooded it waits for a CPU.
func (v *visitor) inside(f func() error) error {
	runtime.LockOSThread()
	home, err := v.home()
	if err != nil {
		runtime.UnlockOSThread()
		return onThread(f)
	}
	defer home.Close()
	v.away = false
	err = f()
	if v.away {
		comeBack(home)
	}
	runtime.UnlockOSThread()
	return err
}

// errStay says that the calling thread is not one to enter another namespace with.
var errStay = errors.New("this thread must stay in its namespace")

// home opens the namespace that the calling thread is in, if that thread may leave it and may return. The process's first
// one may not leave: /proc/self shows its namespace as the whole process's.
func (v *visitor) home() (*os.File, error) {
	if unix.Gettid() == unix.Getpid() {
		return nil, errStay
	}
	home, err := openNamespace(v.root, "thread-self")
	if err != nil {
		return nil, err
	}
	// Whoever may enter a namespace below may still not be allowed back into this one. Entering it from itself tells.
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		home.Close()
		return nil, err
	}
	return home, nil
}

// comeBack brings the thread home. It was seen to be allowed; what is left is a moment without memory. A thread that
// stays away must not go on: it would write to another namespace's settings.
func comeBack(home *os.File) {
	var err error
	for range 100 {
		if err = unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err == nil {
			return
		}
		runtime.Gosched()
	}
	panic(fmt.Sprintf("return to the own network namespace: %v", err))
}

// onThread runs f on a thread of its own, which may change its namespace: it ends with f instead of being used, in
// some other namespace, for something else. It waits for f.
func onThread(f func() error) error {
	var group errgroup.Group
	group.Go(func() error {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			return f() // never unlocked: the runtime ends the thread together with the goroutine
		}
		// The process's first thread cannot end. Keep it busy while another thread does the work.
		defer runtime.UnlockOSThread()
		return onThread(f)
	})
	return group.Wait()
}

// enter moves the calling thread into the namespace, by whichever way in still leads there. The handle is closed at
// once: an open one would keep the namespace alive.
func (v *visitor) enter(inode uint64, seen sighting) error {
	err := fmt.Errorf("enter network namespace %d: %w", inode, ErrGone)
	for _, m := range seen.mounts {
		if err = v.enterBy(inode, m.open); err == nil || errors.Is(err, unix.EPERM) {
			return err
		}
	}
	for _, pid := range seen.pids {
		if err = v.enterBy(inode, process(pid).open); err == nil || errors.Is(err, unix.EPERM) {
			return err
		}
	}
	return err
}

func (v *visitor) enterBy(inode uint64, open func(*os.Root) (*os.File, error)) error {
	handle, err := open(v.root)
	if err != nil {
		return fmt.Errorf("enter network namespace %d: %w", inode, err)
	}
	defer handle.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(handle.Fd()), &st); err != nil {
		return fmt.Errorf("enter network namespace %d: %w", inode, err)
	}
	if st.Ino != inode { // the file or the process changed since it was seen
		return fmt.Errorf("enter network namespace %d: %w", inode, ErrGone)
	}
	if err := unix.Setns(int(handle.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %d: %w", inode, err)
	}
	v.away = true
	return nil
}

func (m mount) open(root *os.Root) (*os.File, error) {
	return root.Open(strings.TrimPrefix(m.path, "/"))
}

// process is a process id.
type process int

func (p process) open(root *os.Root) (*os.File, error) {
	return openNamespace(root, strconv.Itoa(int(p)))
}

// openNamespace opens the network namespace of a process or thread. The link in /proc is a magic one: it reads "net:[N]"
// but leads to the namespace, so os.Root would take it for a path that is not there. The path is ours, below the root's
// /proc.
func openNamespace(root *os.Root, who string) (*os.File, error) {
	dir, err := root.Open("proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	name := who + "/ns/net"
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/proc/" + name, Err: err}
	}
	return os.NewFile(uintptr(fd), "/proc/"+name), nil
}

// openCounts opens the count of each namespace that can be entered. What fails leaves that namespace without: then it
// is read by other means, or blind.
func (t *Table) openCounts(spaces []*space) {
	_ = t.visits.inside(func() error { // the errors are dealt with one by one
		for _, s := range spaces {
			err := t.visits.enter(s.ns.Inode, s.sighting)
			if errors.Is(err, unix.EPERM) {
				return err // nor would the others let us in
			}
			if err != nil {
				continue
			}
			if file, err := t.root.Open(countFile); err == nil {
				s.count = file
			}
		}
		return nil
	})
}

// readInside reads the counters of a namespace into t.stat from inside it, for [Table.inside].
func (t *Table) readInside(s *space) error {
	if err := t.visits.enter(s.ns.Inode, s.sighting); err != nil {
		return err
	}
	return t.readStatAt(visitFile)
}

// visited is what a visit to several namespaces found in one of them.
type visited struct {
	at   time.Time // before it was read
	stat stat
}

// Visit reads the counters of several namespaces beforehand, for the next reading of each within [Table.Together]: to come
// and go for each costs more than the reading. What an earlier visit left unread is dropped. Where it fails, the reading of that
// namespace tries again by all other ways.
func (t *Table) Visit(inodes []uint64) {
	t.visited = nil
	var spaces []*space
	for _, inode := range inodes {
		if s := t.spaces[inode]; s != nil && inode != t.own && len(s.pids) == 0 && s.noWay.IsZero() {
			spaces = append(spaces, s)
		}
	}
	if len(spaces) < 2 {
		return
	}
	t.visited = make(map[uint64]visited, len(spaces))
	_ = t.visits.inside(func() error { // what failed is read again
		for _, s := range spaces {
			at := t.now()
			if err := t.readInside(s); errors.Is(err, unix.EPERM) {
				return err // nor would the others let us in
			} else if err == nil {
				t.visited[s.ns.Inode] = visited{at, t.stat.clone()}
			}
		}
		return nil
	})
}
