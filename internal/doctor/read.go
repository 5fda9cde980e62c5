package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/confdir"
	"github.com/ctwarden/ctwarden/internal/writers"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
	"github.com/ctwarden/ctwarden/remediate/conntrack"
	"github.com/ctwarden/ctwarden/remediate/sysctld"
)

// ErrNoSys says that /proc/sys is not there, so that there is nothing to judge.
var ErrNoSys = errors.New("/proc/sys is not mounted, so that the kernel's settings are not to be seen")

// Read gathers the facts below c.Root. What cannot be read is among them as unknown; the error tells of a root that cannot
// be opened, of "/" without /proc/sys ([ErrNoSys]), and of a kernel that is too old ([conntrack.ErrTooOld]).
func Read(c Config) (Facts, error) {
	root, err := os.OpenRoot(c.Root)
	if err != nil {
		return Facts{}, fmt.Errorf("open root: %w", err)
	}
	defer root.Close()
	if _, err := root.Stat("proc/sys"); err != nil && c.Root == "/" {
		return Facts{}, ErrNoSys
	}
	f := Facts{
		Config: c, Tree: sysctld.Read(root), SystemdSysctl: sysctld.SystemdBelow(root), Procps: sysctld.ProcpsBelow(root),
		Systemd: hasSystemd(root), Cores: writers.Cores(root), Mentions: writers.Scripts(root),
	}
	f.Kernel = line(root, "proc/sys/kernel/osrelease")
	f.Chains = remediate.KernelChains(f.Kernel)
	if err := f.readKernel(); err != nil {
		return f, err
	}
	f.Module = readModule(root, f.Table, f.Kernel, f.Systemd)
	if k, ok := writers.FindKubeProxy(root); ok {
		f.Kube = &k
	}
	if p, ok := writers.Tuned(root, apply.KeyMax, apply.KeyOldMax); ok {
		f.Tuned = &p
	}
	f.Managed = managed(f.Tree)
	f.readPersisted(root)
	f.Unit = readUnit(root)
	f.readDirs(root)
	return f, nil
}

// hasSystemd tells whether systemd sets up this host: it runs, or, in an image, it is there.
func hasSystemd(root *os.Root) bool {
	if _, err := root.Stat("run/systemd/system"); err == nil {
		return true
	}
	if _, err := root.Stat("proc/1/comm"); err == nil {
		return false // something else is the first process
	}
	for _, program := range []string{"/usr/lib/systemd/systemd", "/lib/systemd/systemd"} {
		if _, err := confdir.Resolve(root, program); err == nil {
			return true
		}
	}
	return false
}

// atLeast compares a release; one that cannot be understood counts as a new one.
func atLeast(release string, wantMajor, wantMinor int) bool {
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return true
	}
	return major > wantMajor || major == wantMajor && minor >= wantMinor
}

// line is the first line of a small file; empty where it cannot be read.
func line(root *os.Root, name string) string {
	data, err := root.ReadFile(name)
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(first)
}

// readKernel asks the kernel for the table as it is.
func (f *Facts) readKernel() error {
	table, err := conntrack.Open(f.Root, func() time.Time { return f.Now })
	if err != nil {
		f.unknown("the limit in force", err)
		return nil
	}
	defer table.Close()
	if f.Memory, err = table.Memory(); err != nil {
		f.unknown("the host's memory", err)
	}
	f.Limits, err = table.Limits()
	switch {
	case errors.Is(err, conntrack.ErrTooOld):
		return err
	case errors.Is(err, conntrack.ErrNotLoaded):
		return nil
	case err != nil:
		f.unknown("the limit in force", err)
		return nil
	}
	f.Table, f.Inside = true, f.Limits.OldMax == 0 && f.Limits.Max != 0
	f.readFills(table)
	f.Chains = f.Chains.Counted(table.CountsChains())
	return nil
}

// readFills counts the entries of the namespaces that can be seen.
func (f *Facts) readFills(table *conntrack.Table) {
	spaces, err := table.Discover()
	if err != nil {
		f.unknown("other network namespaces", err)
		spaces = []remediate.NetNS{table.Own()}
	}
	for _, ns := range spaces {
		if r, err := table.Read(ns.Inode, ns.Init); err == nil {
			f.Fills = append(f.Fills, Fill{Name: r.NetNS.Name, Count: r.Count, Init: r.NetNS.Init})
		}
	}
}

func (f *Facts) unknown(what string, why error) {
	f.Unknown = append(f.Unknown, Unknown{What: what, Why: why.Error()})
}

// readPersisted reads our own sysctl.d file.
func (f *Facts) readPersisted(root *os.Root) {
	a, err := apply.New(apply.Config{Root: f.Root, PersistFile: f.PersistFile, MachineID: line(root, "etc/machine-id")})
	if err != nil {
		f.unknown(f.PersistFile, err)
		return
	}
	defer a.Close()
	f.Persisted, f.HasPersisted, f.PersistErr = a.Persisted()
	if err := f.PersistErr; errors.Is(err, fs.ErrPermission) {
		f.unknown(f.PersistFile, err)
		f.PersistErr = nil
	}
}

// tools are the configuration tools by what their files say of themselves.
var tools = []struct{ word, name string }{
	{"ansible", "Ansible"}, {"puppet", "Puppet"}, {"salt", "Salt"}, {"chef", "Chef"}, {"cfengine", "CFEngine"}, {"cloud-init", "cloud-init"},
}

// managed finds the files that say in a comment that a tool manages them.
func managed(tree *sysctld.Tree) map[string]string {
	out := map[string]string{}
	for _, file := range tree.Files(sysctld.Procps) {
		n := 0
		for text := range strings.Lines(string(file.Data)) {
			text = strings.ToLower(strings.TrimSpace(text))
			if n++; n > 20 || text == "" || text[0] != '#' && text[0] != ';' {
				continue
			}
			for _, tool := range tools {
				if strings.Contains(text, tool.word) && (strings.Contains(text, "managed") || strings.Contains(text, "generated")) {
					out[file.Path] = tool.name
				}
			}
		}
	}
	return out
}

// dirs are the places of a kind of drop-in directory, by falling precedence.
func dirs(name string) []string {
	var out []string
	for _, prefix := range []string{"/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"} {
		out = append(out, path.Join(prefix, name))
	}
	return out
}
