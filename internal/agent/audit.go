package agent

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

const (
	// lateAfter is the patience with a source where the configuration says nothing.
	lateAfter = 30 * time.Second
	// mostPrinted is how many of the kernel's last records are kept to hold the sources against.
	mostPrinted = 256
	// auditStep is the most that one look adds to the auditor's clock.
	auditStep = time.Second
	// mostBehind is how often in a day a source may be called behind: one that is so again and again, and goes on, leaves
	// records out by somebody's rule.
	mostBehind = 3
	day        = 24 * time.Hour
	// neverProven is below every severity.
	neverProven = -1
)

// auditor finds out which sources are dead although nothing says so: stuck, or fed by a daemon that has died.
//
// Silence alone is no evidence, since a healthy kernel may say nothing for weeks. What is: no sign of life from the
// reader itself (watcher.BeatEvery), and a record of the kernel's that a trusted source has delivered and this one has
// not. That counts only for a source which was seen to deliver the very same records as the trusted one before, of this
// severity or a less severe one: many files leave some kernel lines out.
//
// Its clock stands still while the agent does, so that a suspended machine or a stopped process accuses nobody.
type auditor struct {
	patience time.Duration // sources.late_after
	clock    time.Duration
	at       time.Time
	printed  []printed // by time since boot
}

// printed is a record of the kernel's as a trusted source delivered it.
type printed struct {
	mono     time.Duration
	severity int
	by       remediate.Source
	seen     time.Duration // on the auditor's clock
}

// witness is what the auditor knows of one stream.
type witness struct {
	heard  time.Duration   // when the last batch came
	names  []time.Duration // the last records that it delivered
	passed time.Duration   // everything that the kernel had printed up to here came, or never will
	proven int             // the least severe record that it was seen to deliver
	late   time.Duration   // since when its records come late; 0: they do not
	fault  fault
	since  time.Duration   // when the fault's cause began
	behind []time.Duration // when it was last called behind, at most mostBehind
}

// fault is what the auditor found wrong with a source; empty: nothing.
type fault string

const (
	faultStuck  fault = "stuck"  // its reader gives no sign of life
	faultBehind fault = "behind" // records of the kernel's have not come through it
	faultLate   fault = "late"   // its records come, ever later
)

// tick moves the clock on.
func (u *auditor) tick(now time.Time) {
	if !u.at.IsZero() {
		u.clock += min(max(now.Sub(u.at), 0), auditStep)
	}
	u.at = now
}

// heard takes a batch of a stream that has caught up. trusted says whether what it names was printed by the kernel for
// sure.
func (u *auditor) heard(w *witness, b watcher.Batch, bootID string, trusted bool) {
	w.heard = u.clock
	if !b.CaughtUp {
		return
	}
	for _, r := range b.Kernel {
		if r.BootID != bootID {
			continue
		}
		w.names = append(w.names, r.Mono)
		if trusted && r.Severity != watcher.SeverityUnknown {
			u.print(printed{r.Mono, r.Severity, b.Source, u.clock})
		}
	}
	if over := len(w.names) - watcher.MostKernel; over > 0 {
		w.names = slices.Delete(w.names, 0, over)
	}
}

// print keeps a record, in order.
func (u *auditor) print(p printed) {
	at, known := slices.BinarySearchFunc(u.printed, p, byMono)
	if known {
		return
	}
	u.printed = slices.Insert(u.printed, at, p)
	if len(u.printed) > mostPrinted {
		u.printed = slices.Delete(u.printed, 0, 1)
	}
}

func byMono(a, b printed) int { return cmp.Compare(a.mono, b.mono) }

// compare brings what is known of a stream up to date with what the kernel has printed. Names beyond that wait: the
// stream may be the faster one, or they may be another host's or made up.
func (u *auditor) compare(w *witness) {
	if len(u.printed) == 0 {
		return
	}
	newest := u.printed[len(u.printed)-1].mono
	rest := w.names[:0]
	for _, mono := range w.names {
		if mono > newest {
			rest = append(rest, mono)
			continue
		}
		if at, ok := slices.BinarySearchFunc(u.printed, printed{mono: mono}, byMono); ok {
			w.proven = max(w.proven, u.printed[at].severity)
		}
		if w.proven != neverProven {
			w.passed = max(w.passed, mono)
		}
	}
	w.names = rest
}

// owed is the oldest record that a stream should have delivered and has not.
func (u *auditor) owed(source remediate.Source, w *witness) (printed, bool) {
	var oldest printed
	found := false
	for _, p := range u.printed {
		owes := p.by != source && p.mono > w.passed && p.severity <= w.proven
		if owes && (!found || p.seen < oldest.seen) {
			oldest, found = p, true
		}
	}
	return oldest, found
}

// judge says what is wrong with a stream now, and since when on the auditor's clock. up is false where its reader itself
// says that it cannot read.
func (u *auditor) judge(source remediate.Source, w *witness, up bool) (fault, time.Duration) {
	u.compare(w)
	if u.clock-w.heard >= u.patience {
		return faultStuck, w.heard
	}
	if !up {
		return "", 0
	}
	if p, ok := u.owed(source, w); ok && u.clock-p.seen >= u.patience && u.mayAccuse(w) {
		return faultBehind, p.seen
	}
	if w.late > 0 && u.clock-w.late >= u.patience {
		return faultLate, w.late
	}
	return "", 0
}

// mayAccuse tells whether a stream may be called behind, and books that it is.
func (u *auditor) mayAccuse(w *witness) bool {
	if w.fault == faultBehind {
		return true
	}
	if len(w.behind) == mostBehind {
		if u.clock-w.behind[0] < day {
			return false
		}
		w.behind = slices.Delete(w.behind, 0, 1)
	}
	w.behind = append(w.behind, u.clock)
	return true
}

// delivered notes how late the records of a batch were read. A source with nothing to read is not late.
func (u *auditor) delivered(w *witness, records uint64, lag time.Duration) {
	switch {
	case records == 0 || lag < u.patience:
		w.late = 0
	case w.late == 0:
		w.late = max(u.clock, 1)
	}
}

// text says what is wrong and what to do about it.
func (f fault) text(st *SourceStatus) (problem, remedy string) {
	where, feeder := "this journal", "systemd-journald"
	if st.Source == remediate.SourceSyslog {
		where, feeder = st.Path, "the syslog daemon"
	}
	switch f {
	case faultStuck:
		if st.Source == remediate.SourceKmsg {
			where = "/dev/kmsg"
		}
		return fmt.Sprintf("the reader of %s is stuck in a call to the system", where),
			"see whether what holds it answers (a dead network file system, a frozen disk); the other sources go on"
	case faultBehind:
		return fmt.Sprintf("the kernel has printed what has not come through %s", where),
			fmt.Sprintf("see whether %s runs and still reads the kernel's log; the other sources go on", feeder)
	case faultLate:
		return fmt.Sprintf("more comes through %s than is read: its records are read late", where),
			"see who writes so much; the other sources and the kernel's counters go on"
	}
	return "", ""
}

// auditSources says of each source, once, that it is dead or has fallen behind, and that it is no more; and what it has
// lost that was not said at once.
func (a *Agent) auditSources(now time.Time) {
	a.audit.tick(now)
	for _, st := range a.streams {
		a.sayLost(now, st, false)
		if !st.said {
			continue // it is still being positioned, which may take long
		}
		found, since := a.audit.judge(st.status.Source, &st.witness, st.status.Up)
		before := st.witness.fault
		st.witness.fault, st.witness.since = found, since
		switch {
		case found == before:
		case found != "":
			problem, remedy := found.text(&st.status)
			a.sourceFault(remediate.EventSourceDegraded, st, 0, problem, remedy)
		case st.status.Up && st.status.Problem == "":
			a.sourceFault(remediate.EventSourceRecovered, st, 0, "", "")
		}
	}
}

// audited is the status of a stream with what the auditor found.
func (a *Agent) audited(st *stream) SourceStatus {
	s := st.status
	s.Fault = string(st.witness.fault)
	if s.Fault == "" {
		return s
	}
	s.Problem, s.Remedy = st.witness.fault.text(&st.status)
	s.LagSeconds = max(s.LagSeconds, (a.audit.clock - st.witness.since).Seconds())
	return s
}

// trusted tells whether the auditor takes a source's word for what the kernel has printed: the ring buffer's, and where
// it cannot be read the journal's.
func (a *Agent) trusted(source remediate.Source) bool {
	switch source {
	case remediate.SourceKmsg:
		return true
	case remediate.SourceJournal:
		kmsg := a.streams[string(remediate.SourceKmsg)]
		return kmsg == nil || !kmsg.status.Up
	}
	return false
}
