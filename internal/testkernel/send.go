package testkernel

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// batch is the number of packets of one system call. More made it slower: they no longer fit the cache.
	batch = 64
	// maxFlows and maxTime bound one Send, so that a mistake in a test cannot run away with the machine.
	maxFlows = 5_000_000
	maxTime  = 2 * time.Minute
)

// Traffic says what to send: so many new flows.
type Traffic struct {
	Kind  Kind
	Flows int
	// Rate is the number of flows per second; 0: as fast as this machine can.
	Rate float64
	// Senders is the number of threads; 0: one when there is a rate, else one per CPU.
	Senders int
}

// Result says what became of the packets: one a flow, three for Established.
type Result struct {
	// Sent were let through: their flow had an entry. Refused were refused by the kernel, with EPERM.
	Sent    uint64
	Refused uint64
	Took    time.Duration
}

// PerSecond is the number of packets sent and refused per second.
func (r Result) PerSecond() float64 { return float64(r.Sent+r.Refused) / r.Took.Seconds() }

// Burst sends new flows over UDP as fast as this machine can.
func (n *Namespace) Burst(ctx context.Context, flows int) (Result, error) {
	return n.Send(ctx, Traffic{Flows: flows})
}

// Send sends new flows that no earlier call has sent. When ctx is done it stops early, without an error.
func (n *Namespace) Send(ctx context.Context, t Traffic) (Result, error) {
	if t.Flows < 0 || t.Flows > maxFlows {
		return Result{}, fmt.Errorf("send %d flows: at most %d are allowed", t.Flows, maxFlows)
	}
	if t.Senders == 0 {
		t.Senders = 1
		if t.Rate == 0 {
			t.Senders = runtime.NumCPU()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	senders, err := n.senders(t)
	defer func() {
		for _, s := range senders {
			s.close()
		}
	}()
	if err != nil {
		return Result{}, err
	}
	return sendAll(ctx, senders)
}

// senders opens the sockets and divides the flows among them.
func (n *Namespace) senders(t Traffic) ([]*sender, error) {
	var senders []*sender
	first := n.next.Add(uint64(t.Flows)) - uint64(t.Flows)
	for i := range t.Senders {
		share := t.Flows / t.Senders
		if i < t.Flows%t.Senders {
			share++
		}
		s := newSender(t.Kind, first, share, t.Rate/float64(t.Senders))
		if err := n.Do(s.open); err != nil {
			return senders, err
		}
		senders = append(senders, s)
		first += uint64(share)
	}
	return senders, nil
}

func sendAll(ctx context.Context, senders []*sender) (Result, error) {
	var (
		group errgroup.Group
		mu    sync.Mutex
		total Result
	)
	begin := time.Now()
	for _, s := range senders {
		group.Go(func() error {
			return quiet(func() error {
				sent, refused, err := s.run(ctx)
				mu.Lock()
				defer mu.Unlock()
				total.Sent += sent
				total.Refused += refused
				return err
			})
		})
	}
	err := group.Wait()
	total.Took = time.Since(begin)
	return total, err
}

// sender is one thread's socket and the packets of one system call.
type sender struct {
	kind  Kind
	next  uint64  // the number of the next flow
	left  int     // flows still to send
	rate  float64 // flows per second; 0: unbounded
	fd    int
	size  int
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

func newSender(kind Kind, first uint64, flows int, rate float64) *sender {
	s := &sender{kind: kind, next: first, left: flows, rate: rate, fd: -1}
	family, length := uint16(unix.AF_INET), uint32(unix.SizeofSockaddrInet4)
	if kind == UDP6 {
		family, length = unix.AF_INET6, unix.SizeofSockaddrInet6
	}
	for i := range batch {
		s.size = kind.template(s.bufs[i][:])
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
	if s.kind == UDP6 {
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

func (s *sender) run(ctx context.Context) (sent, refused uint64, err error) {
	begin := time.Now()
	for done := 0; s.left > 0 && ctx.Err() == nil; {
		flows := min(batch/s.kind.packets(), s.left)
		if s.rate > 0 {
			if flows = min(flows, int(time.Since(begin).Seconds()*s.rate)-done); flows <= 0 {
				time.Sleep(time.Millisecond)
				continue
			}
		}
		packets := s.fill(flows)
		no, err := s.flush(packets)
		sent, refused = sent+uint64(packets-no), refused+uint64(no)
		if err != nil {
			return sent, refused, err
		}
		done += flows
		s.left -= flows
	}
	return sent, refused, nil
}

// fill makes the packets of the next flows and returns their number.
func (s *sender) fill(flows int) int {
	per := s.kind.packets()
	for i := range flows * per {
		s.kind.aim(s.bufs[i][:], s.addrs[i][:], s.next+uint64(i/per), i%per == 1)
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
			i += int(sent)
			if i < n {
				refused++
			}
		case unix.EPERM:
			refused++
		default:
			return refused + n - i, fmt.Errorf("send: %w", errno)
		}
	}
	return refused, nil
}

// quiet runs f on one thread, with all signals blocked: the runtime's own would cut a system call short, which looks
// like a refusal.
func quiet(f func() error) error {
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
	return f()
}
