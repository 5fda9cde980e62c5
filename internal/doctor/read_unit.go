package doctor

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ctwarden/ctwarden/internal/confdir"
)

const (
	unitName = "ctwarden.service"
	// capWriter is the capability that it takes to write the limit, by its name and its number.
	capWriter       = "CAP_NET_ADMIN"
	capWriterNumber = 12
)

// readUnit finds the agent's service in systemd's directories. systemd itself is not asked: that needs no program, but a bus.
func readUnit(root *os.Root) Unit {
	var u Unit
	var text []byte
	for _, dir := range dirs("systemd/system") {
		f := confdir.Read(root, path.Join(dir, unitName))
		target, _ := root.Readlink(path.Join(dir, unitName)[1:]) // empty where it is no link
		if f.Err != nil && target != "/dev/null" {
			continue
		}
		if target == "/dev/null" || len(f.Data) == 0 {
			u.Masked = f.Path
		} else {
			u.File, text = f.Path, f.Data
		}
		break
	}
	u.Enabled = enabled(root)
	settings := []string{string(text)}
	l := confdir.List(root, dirs("systemd/system/"+unitName+".d"), ".conf")
	for _, f := range confdir.First(l.Files) {
		settings = append(settings, string(f.Data))
	}
	u.Writer = grants(settings)
	_, err := root.Stat("run/systemd/system")
	u.SystemdRuns = err == nil
	u.process(root)
	return u
}

// enabled looks for the links that systemctl enable makes.
func enabled(root *os.Root) bool {
	for _, dir := range dirs("systemd/system") {
		real, err := confdir.Resolve(root, dir)
		if err != nil {
			continue
		}
		entries, err := fs.ReadDir(root.FS(), real)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".wants") && !strings.HasSuffix(e.Name(), ".requires") {
				continue
			}
			if _, err := root.Lstat(path.Join(real, e.Name(), unitName)); err == nil {
				return true
			}
		}
	}
	return false
}

// grants tells whether a unit and its drop-ins, in their order, give the service the capability to write the limit: root
// has it unless the bounding set takes it away, another user where it is ambient.
func grants(files []string) bool {
	user, ambient := "", map[string]bool{}
	bounded, bounding := false, map[string]bool{}
	for _, text := range files {
		for row := range strings.Lines(text) {
			key, value, _ := strings.Cut(strings.TrimSpace(row), "=")
			value = strings.TrimSpace(value)
			switch strings.TrimSpace(key) {
			case "User":
				user = value
			case "AmbientCapabilities":
				capabilities(ambient, value)
			case "CapabilityBoundingSet":
				if strings.HasPrefix(value, "~") && !bounded {
					bounding[capWriter] = true // all but those
				}
				bounded = true
				capabilities(bounding, value)
			}
		}
	}
	if bounded && !bounding[capWriter] {
		return false
	}
	return user == "" || user == "root" || user == "0" || ambient[capWriter]
}

// capabilities adds the named ones to a set, takes them away after "~", and empties it where none is named.
func capabilities(set map[string]bool, value string) {
	if value == "" {
		clear(set)
	}
	names, without := strings.CutPrefix(value, "~")
	for _, name := range strings.Fields(names) {
		set[name] = !without
	}
}

// process looks for the agent that runs: its process, or where those cannot be seen its control group.
func (u *Unit) process(root *os.Root) {
	entries, err := fs.ReadDir(root.FS(), "proc")
	if err == nil {
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil || line(root, path.Join("proc", e.Name(), "comm")) != "ctwarden" {
				continue
			}
			args, err := root.ReadFile(path.Join("proc", e.Name(), "cmdline"))
			if err == nil && slices.Contains(strings.Split(string(args), "\x00"), "run") {
				u.Active, u.PID, u.PIDWriter = true, pid, effective(root, e.Name())
				return
			}
		}
	}
	for _, dir := range []string{"sys/fs/cgroup/system.slice", "sys/fs/cgroup/systemd/system.slice"} {
		if _, err := root.Stat(path.Join(dir, unitName)); err == nil {
			u.Active = true
		}
	}
}

// effective tells whether a process has the capability now.
func effective(root *os.Root, pid string) bool {
	status, err := root.ReadFile(path.Join("proc", pid, "status"))
	if err != nil {
		return true // it is not known that it has not
	}
	for row := range strings.Lines(string(status)) {
		if hex, ok := strings.CutPrefix(row, "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err != nil || set&(1<<capWriterNumber) != 0
		}
	}
	return true
}
