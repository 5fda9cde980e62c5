package testhost

import (
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// Flood has an ordinary user hold connections to an address of IPv4, say something on each, which may be nothing, and
// open another for each that is answered or closed. stop ends it and returns how many were opened. The sockets are Nobody's as the kernel sees it, since
// the thread that makes them is; so it needs root.
func Flood(t testing.TB, address netip.AddrPort, connections int, say string) (stop func() int) {
	t.Helper()
	NeedRoot(t)
	var opened atomic.Int64
	var work sync.WaitGroup
	closed := make(chan struct{}) // by stop
	// Each connection is in one of these or held, so that neither is ever full. The first is never closed.
	wanted := make(chan struct{}, connections)
	sockets := make(chan int, connections) // closed by the goroutine that opens
	for range connections {
		wanted <- struct{}{}
	}
	work.Go(func() {
		defer close(sockets)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if unix.Setfsuid(Nobody) != nil {
			return // none is opened, which the caller sees
		}
		for {
			select {
			case <-closed:
				return
			case <-wanted:
			}
			fd, err := connectTo(address)
			if err != nil {
				wanted <- struct{}{}
				continue
			}
			_, _ = unix.Write(fd, []byte(say)) // the peer may have closed already
			opened.Add(1)
			sockets <- fd
		}
	})
	work.Go(func() { holdAll(sockets, wanted) })
	end := sync.OnceValue(func() int {
		close(closed)
		work.Wait()
		return int(opened.Load())
	})
	t.Cleanup(func() { end() })
	return end
}

// holdAll keeps sockets open until no more come, and asks for another where the peer has closed one.
func holdAll(sockets <-chan int, wanted chan<- struct{}) {
	var held []unix.PollFd
	defer func() {
		for _, s := range held {
			unix.Close(int(s.Fd))
		}
	}()
	for {
		select {
		case fd, ok := <-sockets:
			if !ok {
				return
			}
			held = append(held, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP})
			continue
		default:
		}
		const wait = 1 // millisecond
		if n, err := unix.Poll(held, wait); err != nil || n == 0 {
			continue
		}
		still := held[:0]
		for _, s := range held {
			if s.Revents == 0 {
				still = append(still, s)
				continue
			}
			unix.Close(int(s.Fd))
			wanted <- struct{}{}
		}
		held = still
	}
}

// connectTo opens a blocking socket and gives up after a second.
func connectTo(to netip.AddrPort) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 1})
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
