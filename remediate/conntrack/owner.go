package conntrack

import (
	"fmt"
	"path"
	"strings"
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
// is made [plain].
func (t *Table) name(inode uint64, seen *sighting) remediate.NetNS {
	ns := t.bestName(inode, seen)
	ns.Name = plain(ns.Name)
	return ns
}

func (t *Table) bestName(inode uint64, seen *sighting) remediate.NetNS {
	ns := remediate.NetNS{Inode: inode, Owner: ownerNetns}
	for _, m := range seen.mounts {
		if m.named() && (ns.Name == "" || path.Base(m.path) < ns.Name) {
			ns.Name = path.Base(m.path)
		}
	}
	if ns.Name != "" {
		return ns
	}
	for _, pid := range seen.pids {
		if ns.Name, ns.Owner = t.processName(pid); ns.Name != "" {
			return ns
		}
	}
	ns.Owner = ownerNetns
	if len(seen.mounts) > 0 {
		ns.Name = path.Base(seen.mounts[0].path)
	} else {
		ns.Name = fmt.Sprintf("net:[%d]", inode) // every process in it ended this very moment
	}
	return ns
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

// processName names a process by its container, its unit or its command. It is empty if the process is gone.
func (t *Table) processName(pid int) (name, owner string) {
	if text, err := t.root.ReadFile(fmt.Sprintf("proc/%d/cgroup", pid)); err == nil {
		if name, owner := cgroupName(string(text)); name != "" {
			return name, owner
		}
	}
	text, err := t.root.ReadFile(fmt.Sprintf("proc/%d/comm", pid))
	if err != nil {
		return "", ""
	}
	return fmt.Sprintf("%s[%d]", strings.TrimSpace(string(text)), pid), ownerProcess
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
