package tcppeer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Peer is who is at the other end of a connection.
type Peer struct {
	// UID is the user that made the other end's socket, as a number of the caller's user namespace.
	UID uint32
	// Elsewhere: the other end is on another host or in another network namespace, and UID says nothing.
	Elsewhere bool
}

// Of says who is at the other end of an accepted connection. It is an error where that is on this host and the kernel
// does not say whose it is. The answer is of now: ask once, right after accepting. It takes some tens of microseconds,
// and never more than [waitFor] for each question to the kernel. It may be called from any goroutine.
func Of(conn *net.TCPConn) (Peer, error) {
	own, err := endOf(conn)
	if err != nil {
		return Peer{}, err
	}
	return of(own.reversed(), find, isLocal)
}

// of judges the peer's socket.
func of(peer end, find func(end) (socket, error), isLocal func(end) (bool, error)) (Peer, error) {
	s, err := find(peer)
	switch {
	case err == nil:
		if err := s.check(); err != nil {
			return Peer{}, err
		}
		return Peer{UID: s.uid}, nil
	case !errors.Is(err, errNoSocket):
		return Peer{}, fmt.Errorf("look up the socket at %v: %w", peer.at, err)
	}
	switch local, err := isLocal(peer); {
	case err != nil:
		return Peer{}, fmt.Errorf("look up whether %v is of this host: %w", peer.at.Addr(), err)
	case local:
		return Peer{}, fmt.Errorf("%v is of this host, and %w: it was closed, or is bound to a device", peer.at, errNoSocket)
	}
	return Peer{Elsewhere: true}, nil
}

// end is one end of a connection.
type end struct {
	at, to netip.AddrPort // IPv4 in IPv6 and zones are taken off
	// device is the index of the interface that the socket is bound to, which the kernel does by itself for a link-local
	// address and in a VRF. Zero: none.
	device uint32
}

// reversed is the other end. What the kernel binds to a device by itself it binds at both ends.
func (e end) reversed() end { return end{at: e.to, to: e.at, device: e.device} }

func endOf(conn *net.TCPConn) (end, error) {
	at, ok := conn.LocalAddr().(*net.TCPAddr)
	to, ok2 := conn.RemoteAddr().(*net.TCPAddr)
	if !ok || !ok2 {
		return end{}, errors.New("the connection has no addresses")
	}
	device, err := deviceOf(conn)
	if err != nil {
		return end{}, fmt.Errorf("read what device the connection is bound to: %w", err)
	}
	return end{at: plain(at.AddrPort()), to: plain(to.AddrPort()), device: device}, nil
}

// plain is an address in the one form in which it is compared.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

func deviceOf(conn *net.TCPConn) (device uint32, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var index int
	var optErr error
	err = raw.Control(func(fd uintptr) {
		index, optErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX)
	})
	if errors.Is(optErr, unix.ENOPROTOOPT) {
		index, optErr = 0, nil // Linux before 5.1
	}
	return uint32(index), errors.Join(err, optErr)
}

// errNoSocket: the kernel was asked and has no such socket.
var errNoSocket = errors.New("no socket is there")

// The states of include/net/tcp_states.h that the peer of an accepted connection can be in, with a process that holds it.
const (
	established = 1
	finWait1    = 4
	finWait2    = 5
	closeWait   = 8
	lastAck     = 9
	closing     = 11
)

// socket is what the kernel says of a socket.
type socket struct {
	uid   uint32
	inode uint64
	state uint8
}

// check fails where uid is not the user of a process that has this connection.
func (s socket) check() error {
	switch s.state {
	case established, finWait1, finWait2, closeWait, lastAck, closing:
	default:
		return fmt.Errorf("the peer's socket is in state %d and not connected any more", s.state)
	}
	if s.inode == 0 {
		return errors.New("the peer has closed its socket, so that it is nobody's")
	}
	return nil
}

// find looks a socket up in the way that this kernel and sandbox have.
func find(e end) (socket, error) {
	s, err := findByDiag(e)
	if !errors.Is(err, errUnavailable) {
		return s, err
	}
	s, procErr := findInProc(e)
	if procErr == nil || errors.Is(procErr, errNoSocket) {
		return s, procErr
	}
	return socket{}, fmt.Errorf("%w; %w", err, procErr)
}
