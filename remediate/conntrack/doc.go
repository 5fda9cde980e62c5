// Package conntrack reads the kernel's connection-tracking table: its limits, its counters and the namespaces that
// share it.
//
// The limit and the hash are one for the whole kernel; each network namespace has its own count, which is compared
// with the limit, and its own counters of what was refused. A [Table] reads them all:
//
//	table, err := conntrack.Open("/", time.Now)
//	spaces, err := table.Discover()              // every 9 to 25 seconds, and when table.Changed() says so
//	reading, err := table.Read(inode, true)      // as often as remediate.SamplePeriod says
//
// The agent's own namespace is cheap to read: its files stay open, a look at all of them takes a few microseconds.
// Another namespace must not be kept alive by being watched, and an open counter file, netlink socket or namespace file
// does just that: the namespace and its devices would stay after everybody has left it. An open nf_conntrack_count does
// not: it reads ENOENT once the namespace is gone, which is also how its end is noticed. So that one file is kept per
// namespace, and its counters are opened, read and closed each time: through /proc/<pid>/net of a process that lives
// there, or else by a visit, in which a thread of its own enters, reads and ends.
//
// A visit needs CAP_SYS_ADMIN, a process must be one that this one may look at; where neither works, readings of that
// namespace are blind, and say so.
//
// Who fills a table is for a [Sampler] to find out, outside of the caller's loop: it has the kernel list a part of the entries
// over ctnetlink, by a socket that was opened inside the namespace and is closed at once. That takes CAP_NET_ADMIN, and loads
// the kernel's module nf_conntrack_netlink where it was not there.
//
// All paths are below a root, "/" in use and a directory of the test's own in tests. Nothing here writes.
package conntrack
