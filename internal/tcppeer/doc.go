// Package tcppeer says which user of this host is at the other end of a TCP connection.
//
// TCP has no SO_PEERCRED. But where both ends are on one host, the kernel also has the socket of the other end, and tells
// everybody the user that made it: by NETLINK_SOCK_DIAG, which looks up the one socket with the connection's four
// numbers, or, where a sandbox or a kernel without the module tcp_diag leaves that out, in /proc/net/tcp and tcp6.
//
// Several answers look like root and are nobody's: a socket that no process has any more (TIME_WAIT, or closed with data
// under way) may be reported with uid 0, and a lookup that finds no connection gives any listener on the port. So an
// answer counts only for a socket with exactly these four numbers, in a state that the peer of an accepted connection
// can be in, and with an inode, which a process must hold.
//
// No socket and an address of this host's own is an error, not another host: a client can close its socket, or bind it to
// a device, to be found nowhere. Whether an address is this host's own the kernel's routes say, which is exact also for
// 127.0.0.0/8 and for local routes, and costs the same with one address and with thousands.
//
// Everything is looked up in the network namespace of the calling thread, which must be the connection's.
package tcppeer
