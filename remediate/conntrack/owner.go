package conntrack

import (
	"fmt"
	"os"
	"path"
	"strings"
	"time"
	"unicode"

	"github.com/ctwarden/ctwarden/remediate"
)

// Where a namespace's name comes from (remediate.NetNS.Owner).
const (
	ownerNetns     = "netns"
	ownerContainer = "container"
	ownerUnit      = "unit"
	ownerProcess   = "process"
)

// shortID is how much of a container's id the engines themselves show.
const shortID = 12

// name finds the best name of a namespace: the administrator's, else that of the oldest process in it (the lowest id,
// in a pod the one that holds the namespace), else the file that it is mounted on.
//
// What a name is made of may be any user's choice (a process's name, a cgroup's), and it is shown on terminals: so it
// is made [plain]. It is not the best one where the kernel did not say in time.
func (t *Table) name(inode uint64, seen *sighting) (ns remediate.NetNS, best bool) {
	ns, best = t.bestName(inode, seen)
	ns.Name = plain(ns.Name)
	return ns, best
}

func (t *Table) bestName(inode uint64, seen *sighting) (ns remediate.NetNS, best bool) {
	ns, best = remediate.NetNS{Inode: inode, Owner: ownerNetns}, true
	for _, m := range seen.mounts {
		if m.named() && (ns.Name == "" || path.Base(m.path) < ns.Name) {
			ns.Name = path.Base(m.path)
		}
	}
	if ns.Name != "" {
		return ns, true
	}
	for _, pid := range seen.pids {
		var p processName
		if p, best = t.namer.ask(t.root, pid); p.name != "" {
			ns.Name, ns.Owner = p.name, p.owner
			return ns, true
		}
		if !best {
			break
		}
	}
	ns.Owner = ownerNetns
	if len(seen.mounts) > 0 {
		ns.Name = path.Base(seen.mounts[0].path)
	} else {
		ns.Name = fmt.Sprintf("net:[%d]", inode) // every process in it ended this very moment
	}
	return ns, best
}

// nameWithin is how long is waited for the name of a process. The kernel reads its cgroup under a lock that others may
// hold for as long as a disk does not answer, and the tables must be read meanwhile.
const nameWithin = 100 * time.Millisecond

// namer looks up names of processes aside, one at a time.
type namer struct {
	// asked has the answer to a question that took too long, on a channel of capacity one; nil: there is none.
	asked chan processName
}

// processName is the name of a process, and where it is from; empty where the process is gone.
type processName struct{ name, owner string }

// ask returns false where the kernel did not say in time, or has not answered the question before yet.
func (n *namer) ask(root *os.Root, pid int) (processName, bool) {
	if n.asked != nil {
		select {
		case <-n.asked: // about another process
			n.asked = nil
		default:
			return processName{}, false
		}
	}
	answer := make(chan processName, 1)
	go func() { answer <- nameOf(root, pid) }() // not waited for where it hangs: it ends when the kernel answers
	timer := time.NewTimer(nameWithin)
	defer timer.Stop()
	select {
	case p := <-answer:
		return p, true
	case <-timer.C:
		n.asked = answer
		return processName{}, false
	}
}

// maxName is how many bytes of a name are kept: as many as a file's name has at most.
const maxName = 255

// plain replaces what a terminal would take for an order, or that cannot be seen, and bounds the length.
func plain(name string) string {
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name)
	return strings.ToValidUTF8(name[:min(len(name), maxName)], "")
}

// nameOf names a process by its container, its unit or its command.
func nameOf(root *os.Root, pid int) processName {
	if text, err := root.ReadFile(fmt.Sprintf("proc/%d/cgroup", pid)); err == nil {
		if name, owner := cgroupName(string(text)); name != "" {
			return processName{name, owner}
		}
	}
	text, err := root.ReadFile(fmt.Sprintf("proc/%d/comm", pid))
	if err != nil {
		return processName{}
	}
	return processName{fmt.Sprintf("%s[%d]", strings.TrimSpace(string(text)), pid), ownerProcess}
}

// cgroupName finds a container or else a unit in /proc/<pid>/cgroup, whose lines are number:controllers:path. In the
// old hierarchy the paths differ from line to line; a container's id may stand in any.
func cgroupName(text string) (name, owner string) {
	unit := ""
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		parts := strings.Split(fields[2], "/")
		for i := len(parts) - 1; i >= 0; i-- {
			if id := containerID(parts, i); id != "" {
				return id, ownerContainer
			}
			if unit == "" && isUnit(parts[i]) {
				unit = parts[i]
			}
		}
	}
	return unit, ownerUnit
}

// containerID reads a container's id in one part of a cgroup's path: docker-ID.scope, cri-containerd-ID.scope,
// crio-ID.scope, libpod-ID.scope, /docker/ID, /kubepods/…/ID, and LXC's lxc.payload.NAME and /lxc/NAME.
func containerID(parts []string, i int) string {
	part := parts[i]
	if name, ok := strings.CutPrefix(part, "lxc.payload."); ok {
		return name
	}
	if i > 0 && parts[i-1] == "lxc" {
		return part
	}
	id := strings.TrimSuffix(part, ".scope")
	id = id[strings.LastIndexAny(id, "-:")+1:]
	if len(id) != 64 || strings.Trim(id, "0123456789abcdef") != "" {
		return ""
	}
	return id[:shortID]
}

func isUnit(part string) bool {
	return strings.HasSuffix(part, ".service") || strings.HasSuffix(part, ".scope")
}
