package testkernel

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Do runs f inside the namespace, on a thread that ends with it. Sockets that f opens stay in the namespace.
func (n *Namespace) Do(f func() error) error {
	if n.Name == "" {
		return f()
	}
	done := make(chan error) // unbuffered: the one sender is waited for; nobody closes it
	go onThread(done, func() error {
		if err := enter(n.path()); err != nil {
			return err
		}
		return f()
	})
	return <-done
}

// onThread runs f on a thread of its own. The goroutine never unlocks, so the runtime throws the thread away instead of
// using it, in its foreign namespace, for something else. The process's first thread is passed over: it cannot be
// thrown away, and /proc/self shows its namespace as the whole process's.
func onThread(done chan<- error, f func() error) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		done <- f()
		return
	}
	second := make(chan error) // unbuffered, as above
	go onThread(second, f)
	err := <-second // holds the first thread meanwhile, so that the second goroutine gets another
	runtime.UnlockOSThread()
	done <- err
}

func enter(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the namespace: %w", err)
	}
	defer file.Close()
	if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", path, err)
	}
	return nil
}

// Count is the number of entries of the namespace.
func (n *Namespace) Count() (count uint64, err error) {
	err = n.Do(func() error {
		count, err = readNumber("/proc/sys/net/netfilter/nf_conntrack_count")
		return err
	})
	return count, err
}

// Drops is the kernel's count of refused packets, summed over the CPUs, read without package conntrack.
func (n *Namespace) Drops() (uint64, error) { return n.counter("drop") }

// EarlyDrops is the kernel's count of entries thrown out to make room.
func (n *Namespace) EarlyDrops() (uint64, error) { return n.counter("early_drop") }

func (n *Namespace) counter(column string) (sum uint64, err error) {
	err = n.Do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/stat/nf_conntrack")
		if err != nil {
			return fmt.Errorf("read the counters: %w", err)
		}
		sum, err = sumColumn(string(text), column)
		return err
	})
	return sum, err
}

// sumColumn adds up one column of the kernel's table of hexadecimal numbers.
func sumColumn(table, column string) (uint64, error) {
	var sum uint64
	at := -1
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if at < 0 {
			for i, name := range fields {
				if name == column {
					at = i
				}
			}
			if at < 0 {
				return 0, fmt.Errorf("the kernel has no counter %q", column)
			}
			continue
		}
		n, err := strconv.ParseUint(fields[at], 16, 32)
		if err != nil {
			return 0, fmt.Errorf("read the counter %q: %w", column, err)
		}
		sum += n
	}
	return sum, nil
}
