package doctor

import (
	"regexp"
	"slices"
	"strings"

	"github.com/ctwarden/ctwarden/internal/confdir"
)

// early finds what loads the module before the sysctl.d files are applied.
func (m *moduleReader) early(systemd bool) {
	named := m.lines(dirs("modules-load.d"), ".conf", "#;")
	others := []string{"/etc/initramfs-tools/modules"}
	if !systemd {
		others = append(others, "/etc/modules")
	}
	for _, file := range others {
		f := confdir.Read(m.root, file)
		if f.Unread() {
			m.out.Unsure = f.Err.Error()
		}
		named = append(named, entries(f, "#;")...)
	}
	named = append(named, m.dracut()...)
	for _, word := range m.cmdline {
		key, value, _ := strings.Cut(word, "=")
		switch strings.ReplaceAll(key, "_", "-") {
		case "modules-load", "rd.modules-load":
			for _, name := range strings.Split(value, ",") {
				named = append(named, entry{at: "the kernel's command line (" + word + ")", name: name})
			}
		}
	}
	for _, e := range named {
		if name := plain(e.name); m.needing[name] {
			m.out.Early, m.out.Via = e.at, name
			return
		}
	}
}

// dracut lists the modules that its initial RAM disk loads, whatever the hardware.
func (m *moduleReader) dracut() []entry {
	var out []entry
	for _, e := range m.lines([]string{"/etc/dracut.conf.d", "/usr/lib/dracut/dracut.conf.d"}, ".conf", "#") {
		text := strings.Join(append([]string{e.name}, e.args...), " ")
		names, ok := strings.CutPrefix(text, "force_drivers+=")
		if !ok {
			continue
		}
		for _, name := range strings.Fields(strings.Trim(names, `"'`)) {
			out = append(out, entry{at: e.at, name: name})
		}
	}
	return out
}

// blocked finds the line that keeps the module from being loaded early: systemd-modules-load heeds the block list, and
// whatever loads modules runs the command of an install line in their place.
func (m *moduleReader) blocked(setup []entry) {
	if m.out.Early == "" {
		return
	}
	for _, e := range setup {
		blocks := e.name == "blacklist" && len(e.args) > 0 && plain(e.args[0]) == m.out.Via ||
			e.name == "install" && len(e.args) > 1 && plain(e.args[0]) == moduleName
		if blocks {
			m.out.Early, m.out.Blocked = "", e.at
			return
		}
	}
	for _, word := range m.cmdline {
		key, value, _ := strings.Cut(word, "=")
		if (key == "modprobe.blacklist" || key == "module_blacklist") && slices.Contains(strings.Split(strings.ReplaceAll(value, "-", "_"), ","), m.out.Via) {
			m.out.Early, m.out.Blocked = "", "the kernel's command line ("+word+")"
		}
	}
}

// prefix is an option of systemd-sysctl in a udev rule.
var prefix = regexp.MustCompile(`--prefix[= ]([^ "]+)`)

// replay finds a udev rule that has the settings applied once the module is loaded.
func (m *moduleReader) replay() {
	l := confdir.List(m.root, dirs("udev/rules.d"), ".rules")
	for _, f := range confdir.First(l.Files) {
		for _, e := range entries(f, "#") {
			text := strings.Join(append([]string{e.name}, e.args...), " ")
			if !strings.Contains(text, `"`+moduleName+`"`) || !strings.Contains(text, "systemd-sysctl") || !strings.Contains(text, `"module"`) {
				continue
			}
			m.out.Replay = e.at
			found := prefix.FindAllStringSubmatch(text, -1)
			for _, p := range found {
				m.out.Prefixes = append(m.out.Prefixes, slashed(p[1]))
			}
			if found == nil {
				m.out.Prefixes = []string{"net"} // without one, all are applied
			}
		}
	}
}

// slashed is a prefix as a path, from either notation.
func slashed(p string) string {
	p = strings.TrimPrefix(p, "/proc/sys")
	if !strings.Contains(p, "/") {
		p = strings.ReplaceAll(p, ".", "/")
	}
	return strings.Trim(p, "/")
}
