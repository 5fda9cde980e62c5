// Package persist is the line between an agent that runs as a user of its own and root's helper, which makes a limit
// last for it: both ends of it.
//
// The agent must not be able to write below /etc/sysctl.d: whoever took it over could set any setting of the kernel's at
// the next boot, as root. So it asks. One connection carries one request and one answer, each a line of JSON. The helper
// believes nothing in it: the limit must be the one that the kernel has now, within the ceiling and the memory share of
// root's own configuration, and no less than what a table holds now or what the next boot brings without our file (only a
// file that is there already may be taken back to less than the ceiling and the share allow). The size of the hash, the
// machine and the file's name are not asked for at all. What is written then, and what is taken away, is what package
// apply does for a root of its own.
//
// A helper that is killed leaves the file as it was or as it was to be, since it is replaced in one step; the agent asks
// again, and looks at the file where it hears nothing again, or nothing in time. An agent that was killed or has given up
// is not obeyed: the helper looks whether it still waits before it begins, and right before it changes the file.
//
// What an agent that was taken over can still do here is what it can do without: persist a limit that it may set anyway,
// within those bounds, or take it back.
package persist
