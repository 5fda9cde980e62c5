package agent

import (
	"fmt"
	"os"
	"time"

	"github.com/ctwarden/ctwarden/internal/writers"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
	"github.com/ctwarden/ctwarden/remediate/sysctld"
)

const (
	// writerWithin is how long the loop waits to learn who may have changed the limit, once. No automatic step is due
	// then: they pause on account of that very change.
	writerWithin = 250 * time.Millisecond
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
		{Kind: remediate.WriterSysctl, Name: sysctlLine(root, limit)},
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
func sysctlLine(root *os.Root, limit uint64) string {
	tree := sysctld.Read(root)
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
	k, found := writers.FindKubeProxy(root)
	if !found || k.PID == 0 || k.Limit(writers.Cores(root)) != limit {
		return ""
	}
	return fmt.Sprintf("%s (process %d)", k.Name, k.PID)
}

// tunedLine is the line of tuned's active profile, or of one that it includes, that has the limit, as file:line.
func tunedLine(root *os.Root, limit uint64) string {
	profile, _ := writers.Tuned(root, apply.KeyMax, apply.KeyOldMax)
	for _, s := range profile.Lines {
		if sets(s, limit) {
			return fmt.Sprintf("%s:%d", s.File, s.Line)
		}
	}
	return ""
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
