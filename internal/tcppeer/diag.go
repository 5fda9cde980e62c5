package tcppeer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// diagSize is the size of struct inet_diag_msg, linux/inet_diag.h.
const diagSize = 72

// findByDiag looks a connected socket up by NETLINK_SOCK_DIAG. The error is [errNoSocket] where there is none and
// [errUnavailable] where that cannot be asked.
func findByDiag(e end) (socket, error) {
	s, err := diag(e)
	if !errors.Is(err, unix.ENOENT) {
		return s, err
	}
	// The kernel says the same where it has no such socket and where it lacks tcp_diag. Our own end tells which: it is
	// there, or, where the connection was reset, at least the listener.
	if _, err := diag(e.reversed()); errors.Is(err, unix.ENOENT) {
		return socket{}, fmt.Errorf("%w: the kernel does not find our own socket either (tcp_diag)", errUnavailable)
	} else if err != nil && !errors.Is(err, errNoSocket) {
		return socket{}, err
	}
	return socket{}, errNoSocket
}

// diag is one exact lookup. ENOENT is the kernel's own.
func diag(e end) (socket, error) {
	if e.at.Addr().BitLen() != e.to.Addr().BitLen() {
		return socket{}, errors.New("the two ends have addresses of different kinds")
	}
	body, err := ask(unix.NETLINK_SOCK_DIAG, unix.SOCK_DIAG_BY_FAMILY, diagRequest(e), diagSize)
	if err != nil {
		return socket{}, unavailable(err)
	}
	at, to := diagEnds(body)
	if at != e.at || to != e.to {
		return socket{}, errNoSocket // a listener on this port, which the kernel offers where there is no connection
	}
	return socket{
		state: body[1], uid: binary.NativeEndian.Uint32(body[64:]), inode: uint64(binary.NativeEndian.Uint32(body[68:])),
	}, nil
}

// diagRequest is a struct inet_diag_req_v2. A socket of IPv6 that is connected to an IPv4 address is found by its IPv4
// addresses, like one of IPv4.
func diagRequest(e end) []byte {
	family := byte(unix.AF_INET)
	if e.at.Addr().Is6() {
		family = unix.AF_INET6
	}
	const extensions, padding, allStates, noCookie = 0, 0, 0xffffffff, 0xffffffff
	req := []byte{family, unix.IPPROTO_TCP, extensions, padding}
	req = binary.NativeEndian.AppendUint32(req, allStates)
	req = binary.BigEndian.AppendUint16(req, e.at.Port())
	req = binary.BigEndian.AppendUint16(req, e.to.Port())
	for _, a := range []netip.Addr{e.at.Addr(), e.to.Addr()} {
		field := [16]byte{}
		copy(field[:], a.AsSlice())
		req = append(req, field[:]...)
	}
	req = binary.NativeEndian.AppendUint32(req, e.device)
	req = binary.NativeEndian.AppendUint32(req, noCookie)
	return binary.NativeEndian.AppendUint32(req, noCookie)
}

// diagEnds reads the four numbers of a struct inet_diag_msg.
func diagEnds(body []byte) (at, to netip.AddrPort) {
	address := func(field []byte) netip.Addr {
		if body[0] == unix.AF_INET {
			return netip.AddrFrom4([4]byte(field[:4]))
		}
		return netip.AddrFrom16([16]byte(field)).Unmap()
	}
	return netip.AddrPortFrom(address(body[8:24]), binary.BigEndian.Uint16(body[4:])),
		netip.AddrPortFrom(address(body[24:40]), binary.BigEndian.Uint16(body[6:]))
}
