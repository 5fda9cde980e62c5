package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// sampleEntries and sampleTime bound a sample: it ends with whichever comes first. Of 20,000 entries a share is known to
	// within one in a hundred.
	sampleEntries = 20_000
	sampleTime    = 50 * time.Millisecond
	// answerSize is how much of the table the kernel gives in one answer, some fifty entries; it can be no less with pages of
	// 64 KiB. The kernel has interrupts of the network switched off on its CPU while it looks for them.
	answerSize = 8 << 10
)

// The parts of ctnetlink that a dump needs (linux/netfilter/nfnetlink_conntrack.h).
const (
	ctNew        = unix.NFNL_SUBSYS_CTNETLINK << 8   // IPCTNL_MSG_CT_NEW
	ctGet        = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1 // IPCTNL_MSG_CT_GET
	ctTupleOrig  = 1                                 // CTA_TUPLE_ORIG
	ctTupleIP    = 1                                 // CTA_TUPLE_IP
	ctIPv4Source = 1                                 // CTA_IP_V4_SRC
	ctIPv6Source = 3                                 // CTA_IP_V6_SRC
	ctFlags      = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
	dumpSeq      = 1
)

// source is an address, IPv4 as in IPv6: one that sorts without a pointer.
type source [16]byte

// dump is what a namespace's table was found to hold so far.
type dump struct {
	sources []source // of each entry that was read, in the direction of its first packet
	entries uint64   // how many were read, also those whose source is not known
	done    bool     // the kernel said that these are all
	torn    bool     // some were missed or told twice, as when the hash was resized meanwhile
}

// openDump opens a socket in the calling thread's namespace, in which it stays. It keeps the namespace alive.
func openDump() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return -1, fmt.Errorf("open a netlink socket: %w", err)
	}
	patience := unix.NsecToTimeval(sampleTime.Nanoseconds())
	err = errors.Join(
		unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}), // nobody but the kernel can write to it then
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience))
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("open a netlink socket: %w", err)
	}
	return fd, nil
}

// run reads until there is enough of the table, or the time is over.
func (d *dump) run(read func([]byte) (int, error), until time.Time) error {
	buf := make([]byte, answerSize)
	for !d.done && d.entries < sampleEntries && time.Now().Before(until) {
		n, err := read(buf)
		switch err {
		case nil:
			err = d.take(buf[:n])
		case unix.EINTR:
			err = nil
		case unix.ENOBUFS: // an answer had no room; the others are as good a sample
			d.torn, err = true, nil
		case unix.EAGAIN: // the time is over
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the entries: %w", err)
		}
		runtime.Gosched() // on a machine with one CPU the loop may be due
	}
	return nil
}

// dumpRequest is the message "get all".
func dumpRequest() []byte {
	const size = unix.NLMSG_HDRLEN + 4
	msg := binary.NativeEndian.AppendUint32(nil, size)
	msg = binary.NativeEndian.AppendUint16(msg, ctGet)
	msg = binary.NativeEndian.AppendUint16(msg, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	msg = binary.NativeEndian.AppendUint32(msg, dumpSeq)
	msg = append(msg, 0, 0, 0, 0)                               // port: the kernel's
	return append(msg, unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0) // nfgenmsg
}

// take takes one answer, which may be cut off anywhere. The error is the kernel's.
func (d *dump) take(answer []byte) error {
	for len(answer) >= unix.NLMSG_HDRLEN && !d.done && d.entries < sampleEntries {
		size := int(binary.NativeEndian.Uint32(answer))
		kind, flags := binary.NativeEndian.Uint16(answer[4:]), binary.NativeEndian.Uint16(answer[6:])
		if size < unix.NLMSG_HDRLEN || size > len(answer) {
			d.torn = true
			return nil
		}
		payload := answer[unix.NLMSG_HDRLEN:size]
		d.torn = d.torn || flags&unix.NLM_F_DUMP_INTR != 0
		switch kind {
		case unix.NLMSG_ERROR, unix.NLMSG_DONE:
			if err := kernelError(payload); err != nil {
				return err
			}
			d.done = kind == unix.NLMSG_DONE
		case unix.NLMSG_OVERRUN:
			d.torn = true
		case ctNew:
			d.add(payload)
		}
		answer = answer[min(align(size), len(answer)):]
	}
	return nil
}

// kernelError is the error that such a message carries; nil: it tells of none.
func kernelError(payload []byte) error {
	if len(payload) < 4 {
		return nil
	}
	if code := int32(binary.NativeEndian.Uint32(payload)); code < 0 && code != -code {
		return unix.Errno(-code)
	}
	return nil
}

// add takes one entry.
func (d *dump) add(entry []byte) {
	d.entries++
	if s, ok := sourceOf(entry); ok {
		d.sources = append(d.sources, s)
	}
}

// sourceOf is who sent the first packet of an entry.
func sourceOf(entry []byte) (s source, ok bool) {
	if len(entry) < 4 { // nfgenmsg
		return s, false
	}
	addresses := attribute(attribute(entry[4:], ctTupleOrig), ctTupleIP)
	if v4 := attribute(addresses, ctIPv4Source); len(v4) == 4 {
		s[10], s[11] = 0xff, 0xff
		copy(s[12:], v4)
		return s, true
	}
	v6 := attribute(addresses, ctIPv6Source)
	return s, copy(s[:], v6) == len(s) && len(v6) == len(s)
}

// attribute is the content of the first attribute of a kind; nil: there is none.
func attribute(list []byte, kind uint16) []byte {
	for len(list) >= unix.SizeofNlAttr {
		size := int(binary.NativeEndian.Uint16(list))
		if size < unix.SizeofNlAttr || size > len(list) {
			return nil
		}
		if binary.NativeEndian.Uint16(list[2:])&^ctFlags == kind {
			return list[unix.SizeofNlAttr:size]
		}
		list = list[min(align(size), len(list)):]
	}
	return nil
}

// align is where the next message or attribute begins.
func align(size int) int { return (size + 3) &^ 3 }
