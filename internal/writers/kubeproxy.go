package writers

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// What kube-proxy sets unless it is told otherwise: so many entries for each core, and at least so many.
const (
	kubeProxyPerCore = 32768
	kubeProxyLeast   = 131072
)

// embedding are the programs that have kube-proxy inside, by the name of their process.
var embedding = []string{"kube-proxy", "k3s-server", "k3s-agent"}

// KubeProxy is a kube-proxy that runs, or is set up to.
type KubeProxy struct {
	// PID is its process; 0: none runs, and File sets it up.
	PID  int
	Name string
	// PerCore and Least are its conntrack-max-per-core and conntrack-min, in entries.
	PerCore, Least uint64
	// File is the configuration that they are from; empty: its command line, or its own defaults.
	File string
	// Unread is a configuration file that could not be read, so that its own defaults are supposed.
	Unread string
}

// Limit is what kube-proxy sets the limit to on a machine of so many cores; 0: it leaves the limit alone.
func (k KubeProxy) Limit(cores uint64) uint64 {
	if k.PerCore == 0 {
		return 0
	}
	return max(k.PerCore*min(cores, 1<<20), k.Least)
}

// configs are the files that set up a kube-proxy that is started by the kubelet or by systemd.
var configs = []string{
	"/var/lib/kube-proxy/config.conf", "/var/lib/kube-proxy/kube-proxy-config.yaml",
	"/etc/kubernetes/kube-proxy-config.yaml", "/etc/kubernetes/manifests/kube-proxy.manifest",
	"/etc/kubernetes/manifests/kube-proxy.yaml",
}

// FindKubeProxy looks for kube-proxy among the processes, then for a configuration of it.
func FindKubeProxy(root *os.Root) (KubeProxy, bool) {
	proc, err := fs.ReadDir(root.FS(), "proc")
	if err == nil {
		for _, e := range proc {
			pid, err := strconv.Atoi(e.Name())
			if err != nil {
				continue
			}
			comm, err := start(root, path.Join("proc", e.Name(), "comm"))
			if name := strings.TrimSpace(comm); err == nil && slices.Contains(embedding, name) {
				k := KubeProxy{PID: pid, Name: name, PerCore: kubeProxyPerCore, Least: kubeProxyLeast}
				return k, k.readProcess(root)
			}
		}
	}
	for _, file := range configs {
		text, err := startOf(root, file)
		if err == nil {
			k := KubeProxy{Name: "kube-proxy", PerCore: kubeProxyPerCore, Least: kubeProxyLeast, File: file}
			k.configure(text)
			k.arguments(words(text))
			return k, true
		}
	}
	return KubeProxy{}, false
}

// readProcess reads the command line of a process, and the configuration that it names. It returns false for a k3s that was
// told to do without kube-proxy.
func (k *KubeProxy) readProcess(root *os.Root) bool {
	dir := path.Join("proc", strconv.Itoa(k.PID))
	line, err := start(root, path.Join(dir, "cmdline"))
	if err != nil {
		return true
	}
	args := commandLine(line)
	if slices.Contains(args, "--disable-kube-proxy") || slices.Contains(args, "--disable-kube-proxy=true") {
		return false
	}
	file := k.arguments(args)
	if file == "" || k.Name != "kube-proxy" {
		return true
	}
	// It may live in a mount namespace of its own. The kernel's link goes there, which no path below a root may.
	text, err := inside(root, dir, file)
	if err != nil {
		k.Unread = file
		return true
	}
	k.File = file
	k.PerCore, k.Least = kubeProxyPerCore, kubeProxyLeast // flags beside a configuration file do not count
	k.configure(text)
	return true
}

// inside reads a file as the process whose directory in /proc is dir sees it.
func inside(root *os.Root, dir, file string) (string, error) {
	r, err := os.OpenRoot(path.Join(root.Name(), dir, "root"))
	if err != nil {
		return "", err
	}
	defer r.Close()
	return startOf(r, file)
}

// arguments takes the flags of a command line, and returns the configuration file that it names.
func (k *KubeProxy) arguments(args []string) (file string) {
	for i, arg := range args {
		arg = strings.TrimPrefix(strings.TrimLeft(arg, "-"), "kube-proxy-arg=")
		name, value, given := strings.Cut(arg, "=")
		if !given && i+1 < len(args) {
			value = args[i+1]
		}
		switch name {
		case "conntrack-max-per-core":
			take(&k.PerCore, value)
		case "conntrack-min":
			take(&k.Least, value)
		case "config":
			file = value
		}
	}
	return file
}

// configure takes what a KubeProxyConfiguration says under conntrack. It looks at lines and not at YAML, whose library the
// reading of other programs' files is not worth: a block with its keys on lines of their own, or in braces on one line.
func (k *KubeProxy) configure(text string) {
	depth := -1 // how far "conntrack:" is indented; -1: not in it
	for line := range strings.Lines(text) {
		code, _, _ := strings.Cut(line, " #")
		trimmed := strings.TrimSpace(code)
		if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		indent := len(code) - len(strings.TrimLeft(code, " \t"))
		rest, begins := strings.CutPrefix(strings.TrimLeft(trimmed, `"`), "conntrack")
		rest = strings.TrimLeft(rest, `" `)
		switch {
		case begins && strings.HasPrefix(rest, ":"):
			depth = indent
			k.pairs(rest[1:])
		case depth >= 0 && indent <= depth:
			depth = -1
		case depth >= 0:
			k.pairs(trimmed)
		}
	}
}

// pairs takes "maxPerCore: 0, min: 0", with or without braces and quotes.
func (k *KubeProxy) pairs(text string) {
	for _, pair := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '{' || r == '}' }) {
		key, value, _ := strings.Cut(pair, ":")
		switch strings.Trim(strings.TrimSpace(key), `"'`) {
		case "maxPerCore":
			take(&k.PerCore, strings.TrimSpace(value))
		case "min":
			take(&k.Least, strings.TrimSpace(value))
		}
	}
}

// take sets n where the text is a number; any other stands for the default.
func take(n *uint64, text string) {
	if v, err := strconv.ParseUint(strings.Trim(text, `"'`), 10, 31); err == nil {
		*n = v
	}
}

// words cuts a manifest where a flag could begin or end.
func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n,[]\"'", r) })
}
