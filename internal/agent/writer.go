package agent

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/internal/writers"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
	"github.com/ctwarden/ctwarden/remediate/sysctld"
)

// writerWithin is how long a change of the limit is kept back until it is known who may have written it. Nothing is saved
// meanwhile, so that the change and what the tracker makes of it still move in one transaction; steps are not delayed.
const writerWithin = 250 * time.Millisecond

// writerFinder finds out who may have set a limit: the kernel does not say who wrote, but a value stands somewhere or is
// worked out by a known formula. It reads files and looks at every process, so the loop does not wait for it, and a disk
// that hangs is not asked again until it has answered.
type writerFinder struct {
	root   string
	within time.Duration // writerWithin
	// waiting are the changes to be named, the oldest first; they are kept back until then.
	waiting []remediate.Event
	until   time.Time
	// found has the answer of the search that runs, on a channel of capacity one; nil: none runs.
	found chan remediate.Writer
	// late tells that nobody waits for that answer any more.
	late bool
}

// take has the writer of a change looked for. False: that cannot be had now.
func (f *writerFinder) take(now time.Time, ev remediate.Event) bool {
	if f.late {
		return false
	}
	if len(f.waiting) == 0 {
		f.until = now.Add(f.within)
	}
	f.waiting = append(f.waiting, ev)
	f.begin()
	return true
}

// begin looks for the writer of the first change, if no search runs.
func (f *writerFinder) begin() {
	if f.found != nil || len(f.waiting) == 0 {
		return
	}
	c, _ := f.waiting[0].Data.(remediate.LimitChange)
	found := make(chan remediate.Writer, 1)
	f.found = found
	// Not in an errgroup, whose Wait would wait for a disk that hangs.
	go func() { found <- f.search(c.New) }()
}

// answered takes the answer of the search, and returns the change that it names; nil: nobody waits for it any more.
func (f *writerFinder) answered() *remediate.Event {
	f.found = nil
	if f.late {
		f.late = false
		return nil
	}
	first := f.waiting[0]
	f.waiting = f.waiting[1:]
	f.begin()
	return &first
}

// giveUp returns the changes that wait.
func (f *writerFinder) giveUp() []remediate.Event {
	waiting := f.waiting
	f.waiting, f.late = nil, f.found != nil
	return waiting
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
	tree, loaders := sysctld.Read(root), sysctld.LoadersBelow(root)
	for _, l := range loaders {
		writes := tree.Writes(l, apply.KeyMax, apply.KeyOldMax)
		if n := len(writes); n > 0 && sets(writes[n-1], limit) {
			return fmt.Sprintf("%s:%d", writes[n-1].File, writes[n-1].Line)
		}
	}
	for _, key := range []string{apply.KeyMax, apply.KeyOldMax} {
		for _, s := range tree.All(key) {
			pattern := s.Glob != "" && !slices.ContainsFunc(loaders, sysctld.Loader.Globs) // to which it means nothing
			if sets(s, limit) && !pattern {
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

// kubeProxy is kube-proxy's name where it runs and this is the limit that it works out for this machine. Its process is no
// part of that: one that is started again is the same writer.
func kubeProxy(root *os.Root, limit uint64) string {
	k, found := writers.FindKubeProxy(root)
	if !found || k.PID == 0 || k.Limit(writers.Cores(root)) != limit {
		return ""
	}
	return k.Name
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

// queueRead queues what a reading brought. A change of the limit follows when its writer is known, or when it is not.
func (a *Agent) queueRead(now time.Time, events []remediate.Event) {
	for _, ev := range events {
		changed := ev.Type == remediate.EventLimitChanged
		if changed {
			a.bootOvertaken()
		}
		if !changed || !a.writers.take(now, ev) {
			a.queue(ev)
		}
	}
}

// nameWriter takes the answer of the search for a writer.
func (a *Agent) nameWriter(w remediate.Writer) {
	ev := a.writers.answered()
	if ev == nil {
		return
	}
	if c, ok := ev.Data.(remediate.LimitChange); ok {
		ev.Data = a.tracker.Wrote(c, w)
	}
	a.queue(*ev)
}

// awaitWriters waits until the changes of the limit are named or their time is over.
func (a *Agent) awaitWriters(now time.Time) {
	if len(a.writers.waiting) == 0 {
		return
	}
	timer := time.NewTimer(a.writers.until.Sub(now))
	defer timer.Stop()
	for len(a.writers.waiting) > 0 {
		select {
		case w := <-a.writers.found:
			a.nameWriter(w)
		case <-timer.C:
			a.queue(a.writers.giveUp()...)
		}
	}
}
