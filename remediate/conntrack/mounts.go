package conntrack

import (
	"bytes"
	"errors"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const mountsFile = "self/mountinfo" // below /proc

// mount is a file that a network namespace is mounted on, which keeps it alive: /run/netns/NAME of ip-netns(8), a
// container engine's handle.
type mount struct {
	id    string // the kernel's mount number, unique while the mount is there
	inode uint64
	path  string // absolute
}

// mountTable is the list of mounts, read anew when the kernel says that it has changed. Its zero value has not been read.
type mountTable struct {
	// fd is the open file, a bare descriptor: Go's own poller would take the kernel's word of a change for itself.
	fd     int
	open   bool
	polled bool // the kernel tells of changes: it is its own file and not a test's
	stale  bool // it has told of one, and the list has not been read since
	mounts []mount
}

// now is the list as it is now; proc is /proc, open. Whoever gets the list must not change it.
func (t *mountTable) now(proc int) ([]mount, error) {
	if !t.open {
		if err := t.begin(proc); err != nil {
			return nil, err
		}
	} else if t.same() {
		return t.mounts, nil
	}
	text, err := t.read()
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	t.mounts, t.stale = parseMounts(text), false
	return t.mounts, nil
}

func (t *mountTable) begin(proc int) error {
	fd, err := unix.Openat(proc, mountsFile, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/proc/" + mountsFile, Err: err}
	}
	var fs unix.Statfs_t
	t.fd, t.open = fd, true
	t.polled = unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.PROC_SUPER_MAGIC
	return nil
}

// same tells whether the list is still as it was read; false where that cannot be told.
func (t *mountTable) same() bool {
	t.stale = t.stale || !t.open || !t.polled || t.changed()
	return !t.stale
}

// news tells whether other namespaces are mounted than when the list was last read. Where the kernel tells of a change, it
// is read for that: hosts mount for many other reasons.
func (t *mountTable) news(proc int) bool {
	if t.same() {
		return false
	}
	before := t.mounts
	now, err := t.now(proc)
	return err != nil || !slices.Equal(before, now)
}

// changed tells whether a mount came or went since it was last asked: poll(2) then says so, once (proc_pid_mounts(5)).
func (t *mountTable) changed() bool {
	ask := unix.PollFd{Fd: int32(t.fd), Events: unix.POLLPRI}
	n, err := rawPoll(&ask)
	return err != nil || n > 0
}

func (t *mountTable) read() ([]byte, error) {
	text := make([]byte, 0, 16<<10)
	for {
		n, err := unix.Pread(t.fd, text[len(text):cap(text)], int64(len(text)))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return text, err
		}
		if text = text[:len(text)+n]; len(text) == cap(text) {
			text = slices.Grow(text, len(text))
		}
	}
}

// close closes the file: the next look opens it anew.
func (t *mountTable) close() error {
	if !t.open {
		return nil
	}
	err := unix.Close(t.fd)
	*t = mountTable{}
	return err
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
