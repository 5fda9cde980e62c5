package tcppeer

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// isLocal tells whether the end's address is this host's own, by the route that our packets to it take.
func isLocal(e end) (bool, error) {
	if e.at.Addr().IsLoopback() {
		return true, nil
	}
	body, err := ask(unix.NETLINK_ROUTE, unix.RTM_GETROUTE, routeRequest(e), unix.SizeofRtMsg)
	if err != nil {
		return false, err
	}
	const typeAt = 7 // of struct rtmsg
	return body[typeAt] == unix.RTN_LOCAL, nil
}

// routeRequest is a struct rtmsg with its attributes: the way from our end to e, since rules may part ways by the source.
func routeRequest(e end) []byte {
	family, bits := byte(unix.AF_INET), byte(e.at.Addr().BitLen())
	if e.at.Addr().Is6() {
		family = unix.AF_INET6
	}
	req := make([]byte, unix.SizeofRtMsg)
	req[0], req[1], req[2] = family, bits, bits
	req = attribute(req, unix.RTA_DST, e.at.Addr().AsSlice())
	req = attribute(req, unix.RTA_SRC, e.to.Addr().AsSlice())
	if e.device != 0 {
		req = attribute(req, unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, e.device))
	}
	return req
}

// attribute appends a struct rtattr; the length of what it holds is a multiple of four.
func attribute(req []byte, kind uint16, value []byte) []byte {
	req = binary.NativeEndian.AppendUint16(req, uint16(unix.SizeofRtAttr+len(value)))
	req = binary.NativeEndian.AppendUint16(req, kind)
	return append(req, value...)
}
