package agent

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
	"github.com/ctwarden/ctwarden/remediate/sysctld"
)

const (
	// writerWithin is how long the loop waits to learn who may have changed the limit, once. No automatic step is due
	// then: they pause on account of that very change.
	writerWithin = 250 * time.Millisecond
	// writerFile bounds what is read of a file that may name a value, in bytes.
	writerFile = 256 << 10
	// What kube-proxy sets unless it is told otherwise: so many entries for each core, and at least so many.
	kubeProxyPerCore = 32768
	kubeProxyLeast   = 131072
	// tunedIncludes bounds how far a profile of tuned is followed through the ones that it includes.
	tunedIncludes = 8
)

// writerFinder finds out who may have set a limit: the kernel does not say who wrote, but a value stands somewhere or is
// worked out by a known formula. It reads files, so a disk that hangs is not waited for again until it has answered.
type writerFinder struct {
	root   string
	within time.Duration // writerWithin
	// finding has the result of a search that took too long, on a channel of capacity one; nil: there is none.
	finding chan remediate.Writer
}

// find names the writer of a limit; the zero writer where nothing points to one.
func (f *writerFinder) find(limit uint64) remediate.Writer {
	if f.finding != nil {
		select {
		case <-f.finding: // of another change
			f.finding = nil
		default:
			return remediate.Writer{}
		}
	}
	found := make(chan remediate.Writer, 1)
	// Not in an errgroup, whose Wait would wait for a disk that hangs.
	go func() { found <- f.search(limit) }()
	timer := time.NewTimer(f.within)
	defer timer.Stop()
	select {
	case w := <-found:
		return w
	case <-timer.C:
		f.finding = found
		return remediate.Writer{}
	}
}

// search looks at all places. Where the value stands in several, all are named.
func (f *writerFinder) search(limit uint64) remediate.Writer {
	root, err := os.OpenRoot(f.root)
	if err != nil {
		return remediate.Writer{}
	}
	defer root.Close()
	var out remediate.Writer
	for _, w := range []remediate.Writer{
		{Kind: remediate.WriterKubeProxy, Name: kubeProxy(root, limit)},
		{Kind: remediate.WriterTuned, Name: tunedLine(root, limit)},
		{Kind: remediate.WriterSysctl, Name: f.sysctlLine(limit)},
	} {
		switch {
		case w.Name == "":
		case out.Name == "":
			out = w
		default:
			out.Name += " or " + w.Name
		}
	}
	return out
}

// sysctlLine is the line of a sysctl.d file that sets the limit to exactly that, as file:line: the one with the last word
// if there is one, else any, since sysctl -p reads a file alone. Our own file is somebody else's too where it is loaded
// by hand.
func (f *writerFinder) sysctlLine(limit uint64) string {
	tree, err := sysctld.Load(f.root)
	if err != nil {
		return ""
	}
	for _, l := range []sysctld.Loader{sysctld.Systemd, sysctld.Procps} {
		writes := tree.Writes(l, apply.KeyMax, apply.KeyOldMax)
		if n := len(writes); n > 0 && sets(writes[n-1], limit) {
			return fmt.Sprintf("%s:%d", writes[n-1].File, writes[n-1].Line)
		}
	}
	for _, key := range []string{apply.KeyMax, apply.KeyOldMax} {
		for _, s := range tree.All(key) {
			if sets(s, limit) {
				return fmt.Sprintf("%s:%d", s.File, s.Line)
			}
		}
	}
	return ""
}

func sets(s sysctld.Setting, limit uint64) bool {
	n, ok := s.Number()
	return ok && n == limit
}

// kubeProxy is kube-proxy's name where it runs and this is the limit that it works out for this machine.
func kubeProxy(root *os.Root, limit uint64) string {
	if limit != max(kubeProxyPerCore*cores(root), kubeProxyLeast) {
		return ""
	}
	proc, err := fs.ReadDir(root.FS(), "proc")
	if err != nil {
		return ""
	}
	for _, e := range proc {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		comm, err := readStart(root, path.Join("proc", e.Name(), "comm"))
		if err == nil && strings.TrimSpace(comm) == "kube-proxy" {
			return "kube-proxy (process " + e.Name() + ")"
		}
	}
	return ""
}

// cores is how many processors the machine has.
func cores(root *os.Root) uint64 {
	stat, err := readStart(root, "proc/stat")
	if err != nil {
		return 0
	}
	var n uint64
	for line := range strings.Lines(stat) {
		if len(line) > 3 && strings.HasPrefix(line, "cpu") && line[3] >= '0' && line[3] <= '9' {
			n++
		}
	}
	return n
}

// tunedLine is the line of tuned's active profile, or of one that it includes, that has the limit, as file:line.
func tunedLine(root *os.Root, limit uint64) string {
	active, err := readStart(root, "etc/tuned/active_profile")
	if err != nil {
		return ""
	}
	profiles := strings.Fields(active)
	for i := 0; i < len(profiles) && i < tunedIncludes; i++ {
		at, includes := tunedProfile(root, profiles[i], limit)
		if at != "" {
			return at
		}
		profiles = append(profiles, includes...)
	}
	return ""
}

// tunedProfile looks into one profile, and says which ones it includes.
func tunedProfile(root *os.Root, name string, limit uint64) (at string, includes []string) {
	if strings.ContainsAny(name, "/\x00") || name == "." || name == ".." {
		return "", nil
	}
	for _, dir := range []string{"etc/tuned/profiles", "etc/tuned", "usr/lib/tuned/profiles", "usr/lib/tuned"} {
		file := path.Join(dir, name, "tuned.conf")
		text, err := readStart(root, file)
		if err != nil {
			continue
		}
		n := 0
		for line := range strings.Lines(text) {
			n++
			key, value, _ := strings.Cut(line, "=")
			value = strings.Trim(strings.TrimSpace(value), `"`)
			switch strings.ReplaceAll(strings.TrimSpace(key), "/", ".") {
			case "include":
				includes = append(includes, strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })...)
			case apply.KeyMax, apply.KeyOldMax:
				if sets(sysctld.Setting{Value: value}, limit) {
					return fmt.Sprintf("/%s:%d", file, n), nil
				}
			}
		}
		return "", includes
	}
	return "", nil
}

// readStart reads the beginning of a file.
func readStart(root *os.Root, name string) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, writerFile))
	return string(b), err
}

// nameWriters fills in who may have changed the limit.
func (a *Agent) nameWriters(events []remediate.Event) []remediate.Event {
	for i, ev := range events {
		if c, ok := ev.Data.(remediate.LimitChange); ok {
			events[i].Data = a.tracker.Wrote(c, a.writers.find(c.New))
		}
	}
	return events
}
