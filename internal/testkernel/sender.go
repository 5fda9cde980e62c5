package testkernel

import (
	"context"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batch is the number of packets of one system call. More made it slower: they no longer fit the cache.
const batch = 64

// sender is one thread's socket and the packets of one system call.
type sender struct {
	kind  Kind
	from  int
	next  uint64                      // the number of the next flow
	left  int                         // flows still to send
	most  int                         // flows of one system call
	pace  func(time.Duration) float64 // the number of flows due; nil: all
	until func() bool                 // nil: to the end
	nice  int
	fd    int
	size  int

	refusedAt time.Time // of the first refusal

	bufs  [batch][packetSize]byte
	addrs [batch][unix.SizeofSockaddrInet6]byte
	iovs  [batch]unix.Iovec
	msgs  [batch]message
}

// message is the kernel's struct mmsghdr.
type message struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

func newSender(t Traffic, first uint64, flows int) *sender {
	kind := t.Kind
	most := batch
	if t.Batch > 0 {
		most = min(t.Batch, batch)
	}
	s := &sender{kind: kind, from: t.From, next: first, left: flows, pace: t.pace(), until: t.Until, nice: t.Nice, fd: -1}
	s.most = max(most/kind.packets(), 1)
	family, length := uint16(unix.AF_INET), uint32(unix.SizeofSockaddrInet4)
	if kind.overIPv6() {
		family, length = unix.AF_INET6, unix.SizeofSockaddrInet6
	}
	for i := range batch {
		s.size = kind.template(s.bufs[i][:], t.From)
		*(*uint16)(unsafe.Pointer(&s.addrs[i])) = family
		s.iovs[i] = unix.Iovec{Base: &s.bufs[i][0]}
		s.iovs[i].SetLen(s.size)
		s.msgs[i].header = unix.Msghdr{Name: &s.addrs[i][0], Namelen: length, Iov: &s.iovs[i]}
		s.msgs[i].header.SetIovlen(1)
	}
	return s
}

// open opens a raw socket: it writes whole packets, whatever their source, and is told of refusals like any other.
func (s *sender) open() error {
	family := unix.AF_INET
	if s.kind.overIPv6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return fmt.Errorf("open a raw socket: %w", err)
	}
	s.fd = fd
	return nil
}

func (s *sender) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
	}
}

// run sends the flows as they fall due.
func (s *sender) run(ctx context.Context) (r Result, err error) {
	c := clock{begin: time.Now()}
	for done := 0; s.left > 0 && ctx.Err() == nil; {
		flows := min(s.most, s.left)
		if s.pace != nil {
			if flows = min(flows, int(s.pace(c.since(time.Now())))-done); flows <= 0 {
				time.Sleep(time.Millisecond)
				continue
			}
		}
		packets := s.fill(flows)
		refused, err := s.flush(packets)
		r.Sent, r.Refused, r.FirstRefused = r.Sent+uint64(packets-refused), r.Refused+uint64(refused), s.refusedAt
		if err != nil {
			return r, err
		}
		done += flows
		s.left -= flows
		if s.until != nil && s.until() {
			break
		}
	}
	return r, nil
}

// backlog is what a thread makes up for after it had to wait for a CPU. A network card's queue holds no more either; at
// a rate that is to be measured, a burst without bound would be another rate.
const backlog = 10 * time.Millisecond

// clock is the time by which flows fall due. It stands still while the thread waits for longer than the backlog.
type clock struct {
	begin time.Time
	last  time.Duration
}

func (c *clock) since(now time.Time) time.Duration {
	if late := now.Sub(c.begin) - c.last - backlog; late > 0 {
		c.begin = c.begin.Add(late)
	}
	c.last = now.Sub(c.begin)
	return c.last
}

// fill makes the packets of the next flows and returns their number.
func (s *sender) fill(flows int) int {
	per := s.kind.packets()
	for i := range flows * per {
		s.kind.aim(s.bufs[i][:], s.addrs[i][:], s.next+uint64(i/per), s.from, i%per == 1)
	}
	s.next += uint64(flows)
	return flows * per
}

// flush sends the first n packets and counts the refused. The kernel stops at a refusal, and names it only if it was
// the first packet of the call; with signals blocked (quiet) nothing else stops it short.
func (s *sender) flush(n int) (refused int, err error) {
	for i := 0; i < n; i++ {
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd),
			uintptr(unsafe.Pointer(&s.msgs[i])), uintptr(n-i), 0, 0, 0)
		switch errno {
		case 0:
			if i += int(sent); i < n {
				refused++
			}
		case unix.EPERM:
			refused++
		default:
			return refused + n - i, fmt.Errorf("send: %w", errno)
		}
		if refused > 0 && s.refusedAt.IsZero() {
			s.refusedAt = time.Now()
		}
	}
	return refused, nil
}

// quiet runs f on one thread of a priority, with all signals blocked: the runtime's own would cut a system call short,
// which looks like a refusal.
func quiet(nice int, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &all, &old); err != nil {
		return fmt.Errorf("block signals: %w", err)
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	if nice != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, nice); err != nil { // on Linux that is the thread
			return fmt.Errorf("set the priority: %w", err)
		}
		defer unix.Setpriority(unix.PRIO_PROCESS, 0, 0)
	}
	return f()
}
