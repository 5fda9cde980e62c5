package doctor

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/ctwarden/ctwarden/internal/confdir"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
	"github.com/ctwarden/ctwarden/remediate/sysctld"
)

// moduleName is the module's name, in the form that has no hyphens.
const moduleName = "nf_conntrack"

// entry is a line of one of the files that load or set up modules.
type entry struct {
	at   string
	name string
	args []string
}

// moduleReader reads what there is to know of the module.
type moduleReader struct {
	root    *os.Root
	out     Module
	needing map[string]bool // the modules that need ours, which is loaded with them
	cmdline []string
}

// readModule says where the module is and what loads it. Services come after the sysctl.d files, but for one that starts as
// early as those are applied.
func readModule(root *os.Root, table bool, kernel string, systemd bool) Module {
	m := &moduleReader{root: root, needing: map[string]bool{moduleName: true, "ip_conntrack": true}}
	m.cmdline = strings.Fields(line(root, "proc/cmdline"))
	m.state(table, kernel)
	if m.out.State == ModuleBuiltIn {
		m.hashsize(nil)
		m.param(kernel)
		return m.out
	}
	m.dependents(kernel)
	m.early(systemd)
	setup := m.lines(dirs("modprobe.d"), ".conf", "#")
	m.hashsize(setup)
	m.blocked(setup)
	m.race(systemd)
	m.replay()
	return m.out
}

// race looks for nftables.service, which waits for nothing, as systemd-sysctl does not wait for it: rules that track
// connections load the module.
func (m *moduleReader) race(systemd bool) {
	if m.out.Early != "" || !systemd {
		return
	}
	for _, target := range []string{"sysinit.target", "multi-user.target"} {
		if _, err := m.root.Lstat("etc/systemd/system/" + target + ".wants/nftables.service"); err == nil {
			m.out.Race = "nftables.service"
		}
	}
}

// state tells where the module is. The kernel's own list names what is loaded; a table without it is built in.
func (m *moduleReader) state(table bool, kernel string) {
	loaded, err := m.root.ReadFile("proc/modules")
	builtIn, errBuiltIn := m.moduleFile(kernel, "modules.builtin")
	switch {
	case err == nil && (bytes.HasPrefix(loaded, []byte(moduleName+" ")) || bytes.Contains(loaded, []byte("\n"+moduleName+" "))):
		m.out.State = ModuleLoaded
	case table, bytes.Contains(builtIn, []byte("/"+moduleName+".ko")):
		m.out.State = ModuleBuiltIn
	case err == nil || errBuiltIn == nil:
		m.out.State = ModuleAbsent
	default:
		m.out.State = ModuleUnknown
		m.out.Unsure = "neither /proc/modules nor the kernel's list of built-in modules is there"
	}
}

// moduleFile reads one of depmod's lists for the kernel; in an image, where no kernel runs, for the only one that it has.
func (m *moduleReader) moduleFile(kernel, name string) ([]byte, error) {
	for _, dir := range []string{"/usr/lib/modules", "/lib/modules"} {
		real, err := confdir.Resolve(m.root, dir)
		if err != nil {
			continue
		}
		version := kernel
		if version == "" {
			d, err := m.root.Open(real)
			if err != nil {
				return nil, err
			}
			names, err := d.Readdirnames(2)
			d.Close()
			if err != nil || len(names) != 1 {
				continue
			}
			version = names[0]
		}
		if data, err := m.root.ReadFile(path.Join(real, version, name)); err == nil {
			return data, nil
		}
	}
	return nil, os.ErrNotExist
}

// dependents learns from depmod's list which modules need ours.
func (m *moduleReader) dependents(kernel string) {
	list, err := m.moduleFile(kernel, "modules.dep")
	if err != nil {
		return
	}
	for row := range bytes.Lines(list) {
		name, needs, _ := bytes.Cut(row, []byte(":"))
		if bytes.Contains(needs, []byte("/"+moduleName+".ko")) {
			m.needing[plain(string(name))] = true
		}
	}
}

// plain is a module's name, from its file or as somebody wrote it.
func plain(name string) string {
	name, _, _ = strings.Cut(path.Base(strings.TrimSpace(name)), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// lines lists the lines of a kind of drop-in files as words, without comments.
func (m *moduleReader) lines(places []string, suffix, comments string) []entry {
	l := confdir.List(m.root, places, suffix)
	for _, d := range l.Unlisted {
		m.out.Unsure = d.Err.Error()
	}
	var out []entry
	for _, f := range confdir.First(l.Files) {
		if f.Unread() {
			m.out.Unsure = f.Err.Error()
		}
		out = append(out, entries(f, comments)...)
	}
	return out
}

// entries cuts a file into lines and words. A backslash at its end joins a line to the next.
func entries(f confdir.File, comments string) []entry {
	var out []entry
	rows := strings.Split(string(f.Data), "\n")
	for i := 0; i < len(rows); i++ {
		at, text := i+1, rows[i]
		for strings.HasSuffix(text, "\\") && i+1 < len(rows) {
			i++
			text = strings.TrimSuffix(text, "\\") + " " + rows[i]
		}
		words := strings.Fields(text)
		if len(words) == 0 || strings.Contains(comments, words[0][:1]) {
			continue
		}
		out = append(out, entry{at: fmt.Sprintf("%s:%d", f.Path, at), name: words[0], args: words[1:]})
	}
	return out
}

// hashsize finds the number of buckets that the module is loaded with. The last one named counts, the kernel's command line
// after all files.
func (m *moduleReader) hashsize(setup []entry) {
	for _, e := range setup {
		if e.name == "options" && len(e.args) > 0 && plain(e.args[0]) == moduleName {
			for _, option := range e.args[1:] {
				m.hash(option, e.at)
			}
		}
	}
	for _, word := range m.cmdline {
		if name, option, ok := strings.Cut(word, "."); ok && plain(name) == moduleName {
			m.hash(option, "the kernel's command line ("+word+")")
		}
	}
}

func (m *moduleReader) hash(option, at string) {
	value, ok := strings.CutPrefix(option, "hashsize=")
	if !ok {
		return
	}
	if n, err := strconv.ParseUint(value, 0, 31); err == nil && n > 0 {
		m.out.Hash, m.out.HashBy = n, at
	}
}

// param finds a limit that the kernel sets by itself before the first process, as it does since 5.8 for what is built in.
func (m *moduleReader) param(kernel string) {
	if !atLeast(kernel, 5, 8) {
		return
	}
	for _, word := range m.cmdline {
		key, value, _ := strings.Cut(word, "=")
		key, ok := strings.CutPrefix(strings.ReplaceAll(key, "/", "."), "sysctl.")
		if !ok || key != apply.KeyMax && key != apply.KeyOldMax {
			continue
		}
		if n, ok := (sysctld.Setting{Value: value}).Number(); ok && n <= remediate.MaxLimit {
			m.out.Param, m.out.ParamBy = n, "the kernel's command line ("+word+")"
		}
	}
}
