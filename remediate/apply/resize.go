package apply

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/remediate"
)

// resize sets the size of the hash, which has from buckets. The kernel rounds it up.
func (a *Applier) resize(from, asked uint64) error {
	r := remediate.Resize{At: a.cfg.Now(), From: from, Asked: asked, To: from}
	took, busy, err := timed(func() error { return a.set(KeyBuckets, asked) })
	r.TookUS, r.BusyUS = took.Microseconds(), busy.Microseconds()
	if err == nil {
		r.To, err = a.get(KeyBuckets)
	}
	if err == nil && r.To < asked {
		err = fmt.Errorf("set %s to %d: %w: it is %d", KeyBuckets, asked, ErrReadBack, r.To)
	}
	a.cfg.Resized(r, err)
	return err
}

// timed runs a write and says how long it took and for how much of that it kept this thread's CPU busy. The kernel moves
// the entries with all packets kept waiting, and after that it waits until nobody looks at the old hash, which stalls
// nobody and takes longer than moving some ten thousand entries (net/netfilter/nf_conntrack_core.c,
// nf_conntrack_hash_resize): the time by the clock says little about the stall.
func timed(write func() error) (took, busy time.Duration, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start, before := time.Now(), threadTime()
	err = write()
	return time.Since(start), threadTime() - before, err
}

// threadTime is the CPU time of this thread so far; 0 where the kernel does not tell.
func threadTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
