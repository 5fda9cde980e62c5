package testkernel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// The parts of ctnetlink that a flush needs (linux/netfilter/nfnetlink_conntrack.h).
const (
	ctDelete   = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2 // IPCTNL_MSG_CT_DELETE
	ctMark     = 8                                 // CTA_MARK
	ctMarkMask = 21                                // CTA_MARK_MASK
)

// Flush removes the entries of the namespace; in the first namespace only those that this package caused.
func (n *Namespace) Flush() error {
	request := flushRequest(n.Name == "")
	err := n.Do(func() error { return netlink(request) })
	if err != nil {
		return fmt.Errorf("flush the entries: %w", err)
	}
	return nil
}

// flushRequest is the message "delete all", with our mark as a filter if marked.
func flushRequest(marked bool) []byte {
	msg := binary.NativeEndian.AppendUint32(nil, 0) // the length, filled in below
	msg = binary.NativeEndian.AppendUint16(msg, ctDelete)
	msg = binary.NativeEndian.AppendUint16(msg, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	msg = append(msg, make([]byte, 8)...)                      // sequence, port
	msg = append(msg, unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0) // nfgenmsg
	if marked {
		msg = appendAttribute(msg, ctMark, mark)
		msg = appendAttribute(msg, ctMarkMask, ^uint32(0))
	}
	binary.NativeEndian.PutUint32(msg, uint32(len(msg)))
	return msg
}

func appendAttribute(msg []byte, kind uint16, value uint32) []byte {
	msg = binary.NativeEndian.AppendUint16(msg, 8)
	msg = binary.NativeEndian.AppendUint16(msg, kind)
	return binary.BigEndian.AppendUint32(msg, value)
}

// netlink sends one request and waits for its acknowledgement.
func netlink(request []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	answer := make([]byte, 4096)
	size, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if size < 20 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return errors.New("no acknowledgement from the kernel")
	}
	if code := int32(binary.NativeEndian.Uint32(answer[16:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
