package tcppeer

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// readFor bounds the reading of a table, which the kernel makes line by line: some microseconds for each socket.
const readFor = time.Second

// findInProc looks a connected socket up in the tables of the calling thread's network namespace.
func findInProc(e end) (socket, error) {
	tables := []string{"tcp6"}
	if e.at.Addr().Is4() {
		tables = []string{"tcp", "tcp6"} // a socket of IPv6 can be connected to an IPv4 address
	}
	deadline := time.Now().Add(readFor)
	for _, table := range append(tables, tables...) { // a line can be passed over where the table changes meanwhile
		s, err := findInTable("/proc/thread-self/net/"+table, e, deadline)
		if errors.Is(err, errNoSocket) || errors.Is(err, os.ErrNotExist) && table == "tcp6" { // a kernel without IPv6
			continue
		}
		return s, err
	}
	return socket{}, errNoSocket
}

func findInTable(path string, e end, deadline time.Time) (socket, error) {
	f, err := os.Open(path)
	if err != nil {
		return socket{}, err
	}
	defer f.Close()
	return scan(f, e, func() bool { return time.Now().After(deadline) })
}

// scan reads a table to its end. Two sockets with the same four numbers, which VRFs can have, are an error: the table
// does not say which is which. One socket can stand there twice where the table changes meanwhile.
func scan(table io.Reader, e end, late func() bool) (found socket, err error) {
	err = errNoSocket
	lines := bufio.NewScanner(table)
	lines.Scan() // the names of the columns
	for n := 0; lines.Scan(); n++ {
		if n%1024 == 0 && late() {
			return socket{}, fmt.Errorf("the table of sockets is too long to be read in %v", readFor)
		}
		s, is, bad := match(lines.Text(), e)
		switch {
		case bad != nil:
			return socket{}, fmt.Errorf("read the table of sockets: %w", bad)
		case !is:
		case err == nil && (s.uid != found.uid || s.inode != found.inode):
			return socket{}, fmt.Errorf("two sockets have the address %v", e.at)
		default:
			found, err = s, nil
		}
	}
	if lines.Err() != nil {
		return socket{}, fmt.Errorf("read the table of sockets: %w", lines.Err())
	}
	return found, err
}

// match reads one line, and tells whether it is the socket's. The columns: number, address, peer's address, state, queues,
// timer, retransmits, uid, timeout, inode (get_tcp4_sock in net/ipv4/tcp_ipv4.c).
func match(line string, e end) (s socket, is bool, err error) {
	column := strings.Fields(line)
	if len(column) < 10 {
		return socket{}, false, fmt.Errorf("a line has %d columns", len(column))
	}
	for i, want := range []netip.AddrPort{e.at, e.to} {
		got, err := procAddress(column[1+i])
		if err != nil || got != want {
			return socket{}, false, err
		}
	}
	state, err1 := strconv.ParseUint(column[3], 16, 8)
	uid, err2 := strconv.ParseUint(column[7], 10, 32)
	inode, err3 := strconv.ParseUint(column[9], 10, 64)
	return socket{uid: uint32(uid), inode: inode, state: uint8(state)}, true, errors.Join(err1, err2, err3)
}

// procAddress reads ADDRESS:PORT in hexadecimal digits, where the address is written as words of the machine's own order.
func procAddress(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	words, err1 := hex.DecodeString(host)
	number, err2 := strconv.ParseUint(port, 16, 16)
	if err1 != nil || err2 != nil || len(words) != 4 && len(words) != 16 {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", text)
	}
	for at := 0; at < len(words); at += 4 {
		binary.NativeEndian.PutUint32(words[at:], binary.BigEndian.Uint32(words[at:]))
	}
	addr, _ := netip.AddrFromSlice(words) // of the right length, as seen above
	return netip.AddrPortFrom(addr.Unmap(), uint16(number)), nil
}
