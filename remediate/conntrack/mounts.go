package conntrack

import (
	"bytes"
	"path"
	"strconv"
	"strings"
)

const mountsFile = "proc/self/mountinfo"

// mount is a file that a network namespace is mounted on, which keeps it alive: /run/netns/NAME of ip-netns(8), a
// container engine's handle.
type mount struct {
	id    string // the kernel's mount number, unique while the mount is there
	inode uint64
	path  string // absolute
}

// named tells whether the mount is one of ip-netns(8), whose name an administrator gave.
func (m mount) named() bool {
	dir := path.Dir(m.path)
	return dir == "/run/netns" || dir == "/var/run/netns"
}

// parseMounts returns the network namespaces among the mounts. A line of mountinfo (proc_pid_mountinfo(5)) is: number,
// parent, device, root, path, options, more fields up to "-", file system, source, options.
func parseMounts(text []byte) []mount {
	var mounts []mount
	for line := range bytes.Lines(text) {
		if !bytes.Contains(line, []byte(" - nsfs ")) {
			continue
		}
		fields := strings.Fields(string(line))
		if len(fields) < 5 {
			continue
		}
		if inode, ok := netInode(fields[3]); ok {
			mounts = append(mounts, mount{id: fields[0], inode: inode, path: unescape(fields[4])})
		}
	}
	return mounts
}

// netInode reads the inode in "net:[4026531840]", as the kernel calls a network namespace.
func netInode(link string) (uint64, bool) {
	number, ok := strings.CutPrefix(link, "net:[")
	if !ok {
		return 0, false
	}
	number, ok = strings.CutSuffix(number, "]")
	if !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(number, 10, 64)
	return inode, err == nil && inode > 0
}

// unescape undoes the kernel's \ooo for blanks and backslashes.
func unescape(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(text[i])
	}
	return out.String()
}
