package doctor

import (
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ctwarden/ctwarden/internal/confdir"
)

const (
	unitName = "ctwarden.service"
	// helperName is the socket of root's helper, which writes the sysctl.d file for an agent that is not root's.
	helperName = "ctwarden-persist.socket"
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
	parsed := parseUnit(settings)
	u.Lacks, u.Confined = parsed.lacks(), parsed.strict
	for _, dir := range parsed.writable() {
		u.Writable = append(u.Writable, resolved(root, dir))
	}
	for _, dir := range parsed.opened["BindPaths"] {
		u.Bound = append(u.Bound, resolved(root, dir))
	}
	for _, c := range parsed.covers() {
		c.real = resolved(root, c.Dir)
		u.Covered = append(u.Covered, c)
	}
	_, wanted := root.Lstat("etc/systemd/system/sockets.target.wants/" + helperName)
	u.Persists = parsed.root() || parsed.helper || wanted == nil
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

// setup is what a unit and its drop-ins say of the service's rights.
type setup struct {
	user              string
	ambient, bounding map[string]bool
	bounded           bool              // there is a bounding set
	tunables          bool              // /proc/sys is read-only to it
	strict            bool              // so is all but what is opened, by the setting that opens it
	covered           map[string]string // the settings that put other directories over the host's, with their values
	opened            map[string][]string
	helper            bool // root's helper is there that writes the sysctl.d file
}

// parseUnit reads the unit and its drop-ins, in their order.
func parseUnit(files []string) setup {
	s := setup{ambient: map[string]bool{}, bounding: map[string]bool{}, opened: map[string][]string{}, covered: map[string]string{}}
	for _, text := range files {
		for row := range strings.Lines(text) {
			key, value, _ := strings.Cut(strings.TrimSpace(row), "=")
			s.set(strings.TrimSpace(key), strings.TrimSpace(value))
		}
	}
	return s
}

// yes tells whether systemd takes a value for true.
func yes(value string) bool {
	return slices.Contains([]string{"yes", "y", "true", "t", "on", "1"}, strings.ToLower(value))
}

func (s *setup) set(key, value string) {
	switch key {
	case "User":
		s.user = value
	case "AmbientCapabilities":
		capabilities(s.ambient, value)
	case "CapabilityBoundingSet":
		if strings.HasPrefix(value, "~") && !s.bounded {
			s.bounding[capWriter] = true // all but those
		}
		s.bounded = true
		capabilities(s.bounding, value)
	case "ProtectKernelTunables":
		s.tunables = yes(value)
	case "ProtectSystem":
		s.strict = value == "strict"
	case "ProtectHome", "PrivateTmp":
		s.covered[key] = value
	case "ReadWritePaths", "StateDirectory", "RuntimeDirectory", "BindPaths":
		s.open(key, value)
	case "Wants", "Requires", "BindsTo", "Upholds":
		s.helper = s.helper || slices.Contains(strings.Fields(value), helperName)
	}
}

// parents are where the directories of a setting are, for settings that name no path.
var parents = map[string]string{"StateDirectory": "/var/lib", "RuntimeDirectory": "/run"}

// open adds the directories of a setting to those that it makes writable; of none it takes them all away.
func (s *setup) open(key, value string) {
	if value == "" {
		delete(s.opened, key)
	}
	for _, name := range unitWords(value) {
		name = strings.TrimLeft(name, "-+")
		first, rest, more := strings.Cut(name, ":")
		if parents[key] != "" {
			name = first // after which a link to it may be named
		} else if key == "BindPaths" && more { // where it is to be seen, behind where it is
			name, _, _ = strings.Cut(rest, ":")
		}
		s.opened[key] = append(s.opened[key], path.Join("/", parents[key], name))
	}
}

// writable are the directories that are, whatever else is not.
func (s setup) writable() (dirs []string) {
	for _, key := range slices.Sorted(maps.Keys(s.opened)) {
		if key != "BindPaths" {
			dirs = append(dirs, s.opened[key]...)
		}
	}
	return dirs
}

// within tells whether a path is one of the directories or below it.
func within(name string, dirs []string) bool {
	for ; ; name = path.Dir(name) {
		if slices.Contains(dirs, name) {
			return true
		}
		if name == "/" || name == "." {
			return false
		}
	}
}

// root tells whether the service is root's.
func (s setup) root() bool { return s.user == "" || s.user == "root" || s.user == "0" }

// lacks is what the service would need to write the limit; empty: nothing. Root has the capability unless the bounding set
// takes it away, another user where it is ambient.
func (s setup) lacks() string {
	switch {
	case s.bounded && !s.bounding[capWriter], !s.root() && !s.ambient[capWriter]:
		return capWriter
	case s.tunables && !within("/proc/sys/net", s.writable()):
		return "ReadWritePaths=/proc/sys/net beside ProtectKernelTunables"
	}
	return ""
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
