package testkernel

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Kind is what a flow's first packet looks like.
type Kind int

// The kinds of flows.
const (
	UDP  Kind = iota // UDP over IPv4
	UDP6             // UDP over IPv6
	SYN              // the first packet of a TCP connection over IPv4
	SYN6             // the same over IPv6
	// Established is a TCP connection over IPv4 in use, of which the kernel sees a packet, an answer and another. Its
	// entry is assured: the kernel does not throw it out to make room, as it does with those of the other kinds, so
	// that a table full of these refuses.
	Established
)

// packets is the number of packets of a flow.
func (k Kind) packets() int {
	if k == Established {
		return 3
	}
	return 1
}

// overIPv6 tells whether the kind's packets are of IPv6.
func (k Kind) overIPv6() bool { return k == UDP6 || k == SYN6 }

// packetSize is large enough for a packet of any kind.
const packetSize = 64

// Destinations: 198.18.0.0/15, kept for benchmarks by RFC 2544, less the first few; and a prefix of unique local
// addresses.
const (
	firstAddress = 198<<24 | 18<<16 | 16
	addresses    = 1<<17 - 32
	firstPort    = 1024
	ports        = 1<<16 - firstPort
)

// sources is the number of addresses that flows come from. They are nobody's, so that an answer to one leaves, and
// vanishes, the same way.
const sources = 8

// source is the IPv4 address of a sender.
func source(from int) [4]byte { return [4]byte{198, 18, 0, 8 + byte(from)} }

// source6 is its IPv6 address.
func source6(from int) [16]byte { return [16]byte{0xfd, 0x63, 0x74, 0x78, 15: 1 + byte(from)} }

// Source is the address that flows of this kind come from, of [Traffic.From].
func (k Kind) Source(from int) netip.Addr {
	if k.overIPv6() {
		return netip.AddrFrom16(source6(from))
	}
	return netip.AddrFrom4(source(from))
}

// service is the destination port of all flows: discard.
const service = 9

// template is the packet of this kind from a sender without its flow's address and port.
func (k Kind) template(buf []byte, from int) int {
	clear(buf)
	switch k {
	case UDP6:
		return udp(buf, ipv6(buf, from, 8, unix.IPPROTO_UDP))
	case SYN:
		return tcp(buf, ipv4(buf, 20, unix.IPPROTO_TCP), synFlag)
	case SYN6:
		return tcp(buf, ipv6(buf, from, 20, unix.IPPROTO_TCP), synFlag)
	case Established:
		return tcp(buf, ipv4(buf, 20, unix.IPPROTO_TCP), ackFlag) // the kernel picks the connection up in its midst
	default:
		return udp(buf, ipv4(buf, 8, unix.IPPROTO_UDP))
	}
}

// The flags of TCP.
const (
	synFlag = 0x02
	ackFlag = 0x10
)

// ipv4 writes a header of 20 bytes but for the addresses. It leaves the checksum to the kernel, which fills it in for a raw socket.
func ipv4(buf []byte, payload, protocol byte) (header int) {
	buf[0], buf[3], buf[8], buf[9] = 0x45, 20+payload, 64, protocol
	return 20
}

// ipv6 writes a header of 40 bytes.
func ipv6(buf []byte, from int, payload, protocol byte) (header int) {
	buf[0], buf[5], buf[6], buf[7] = 0x60, payload, protocol, 64
	near := source6(from)
	copy(buf[8:], near[:])
	copy(buf[24:], []byte{0xfd, 0x63, 0x74, 0x77})
	return 40
}

func tcp(buf []byte, header int, flags byte) int {
	segment := buf[header:]
	segment[3] = service
	binary.BigEndian.PutUint32(segment[4:], 1) // sequence
	binary.BigEndian.PutUint32(segment[8:], 1) // acknowledged
	segment[12], segment[13] = 5<<4, flags     // header length
	segment[14] = 0xff                         // window
	return header + 20
}

func udp(buf []byte, header int) int {
	buf[header+3] = service
	buf[header+5] = 8 // length
	return header + 8
}

// aim gives the packet the address and port of a flow, and the socket address its destination. Flows of different
// numbers differ, up to 8,000 million of them. An answer goes the other way.
func (k Kind) aim(buf, sockaddr []byte, flow uint64, from int, answer bool) {
	port := uint16(firstPort + flow/addresses%ports)
	if k.overIPv6() {
		binary.BigEndian.PutUint32(buf[36:], uint32(flow%addresses)+1)
		binary.BigEndian.PutUint16(buf[40:], port)
		copy(sockaddr[8:24], buf[24:40])
		return
	}
	near, far := buf[12:16], buf[16:20]
	nearPort, farPort := buf[20:], buf[22:]
	if answer {
		near, far, nearPort, farPort = far, near, farPort, nearPort
	}
	sender := source(from)
	copy(near, sender[:])
	binary.BigEndian.PutUint32(far, firstAddress+uint32(flow%addresses))
	binary.BigEndian.PutUint16(nearPort, port)
	binary.BigEndian.PutUint16(farPort, service)
	copy(sockaddr[4:8], buf[16:20])
}
