// Package persist is the line between an agent that runs as a user of its own and root's helper, which makes a limit
// last for it: both ends of it.
//
// The agent must not be able to write below /etc/sysctl.d: whoever took it over could set any setting of the kernel's at
// the next boot, as root. So it asks. One connection carries one request and one answer, each a line of JSON. The helper
// believes nothing in it: the limit must be the one that the kernel has now, within the ceiling of root's own
// configuration, and the size of the hash, the machine and the file's name are not asked for at all. What is written
// then, and what is taken away, is what package apply does for a root of its own.
//
// What an agent that was taken over can still do here is what it can do without: persist a limit that it may set anyway,
// up to the ceiling, or take it back.
package persist
