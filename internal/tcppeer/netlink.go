package tcppeer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// waitFor bounds the wait for one answer. The kernel has it ready when the question is sent.
const waitFor = 500 * time.Millisecond

// errUnavailable: the kernel or a sandbox does not let the question be asked.
var errUnavailable = errors.New("not to be had here")

// sequence is the number of the one question that a netlink socket is opened for.
const sequence = 1

// ask sends one question and returns the body of the one answer, which must have atLeast bytes. An error that the kernel
// answers is returned as a [unix.Errno].
func ask(family int, kind uint16, question []byte, atLeast int) ([]byte, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", unavailable(err))
	}
	defer unix.Close(fd)
	limit := unix.NsecToTimeval(int64(waitFor))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return nil, fmt.Errorf("bound the wait for netlink: %w", err)
	}
	msg := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(question)))
	msg = binary.NativeEndian.AppendUint16(msg, kind)
	msg = binary.NativeEndian.AppendUint16(msg, unix.NLM_F_REQUEST)
	msg = binary.NativeEndian.AppendUint32(msg, sequence)
	msg = append(binary.NativeEndian.AppendUint32(msg, 0), question...)
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("ask: %w", unavailable(err))
	}
	answer, err := receive(fd)
	if err != nil {
		return nil, err
	}
	return open(answer, atLeast)
}

// unavailable marks the errors of a sandbox, and of a kernel that lacks the protocol.
func unavailable(err error) error {
	for _, e := range []error{unix.EPERM, unix.EACCES, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.EOPNOTSUPP, unix.ECONNREFUSED, unix.ENOSYS} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", errUnavailable, err)
		}
	}
	return err
}

// receive reads a message of the kernel's. Those of others, which root alone can send, are passed over.
func receive(fd int) ([]byte, error) {
	buf := make([]byte, 8192)
	deadline := time.Now().Add(waitFor)
	for time.Now().Before(deadline) {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("wait for the answer: %w", err)
		}
		if kernel, ok := from.(*unix.SockaddrNetlink); ok && kernel.Pid == 0 {
			return buf[:n], nil
		}
	}
	return nil, fmt.Errorf("no answer in %v", waitFor)
}

// open takes the header off an answer.
func open(msg []byte, atLeast int) ([]byte, error) {
	if len(msg) < unix.SizeofNlMsghdr {
		return nil, errors.New("the answer is cut off")
	}
	size, kind, seq := binary.NativeEndian.Uint32(msg), binary.NativeEndian.Uint16(msg[4:]), binary.NativeEndian.Uint32(msg[8:])
	if size < unix.SizeofNlMsghdr || int(size) > len(msg) || seq != sequence {
		return nil, errors.New("the answer is to another question")
	}
	body := msg[unix.SizeofNlMsghdr:size]
	switch {
	case kind == unix.NLMSG_ERROR && len(body) >= 4:
		return nil, unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
	case kind < unix.NLMSG_MIN_TYPE || len(body) < atLeast:
		return nil, errors.New("the answer has no content")
	}
	return body, nil
}
