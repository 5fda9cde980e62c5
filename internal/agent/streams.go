package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// ErrNoSource says that no source of kernel records can be read.
var ErrNoSource = errors.New("no source of kernel records can be read")

const (
	// drainAtOnce is how many batches are taken together, under one round of readings.
	drainAtOnce = 64
	// savePositions is how often positions are saved while nothing else is, saveCounts while records are counted.
	savePositions = 30 * time.Second
	saveCounts    = 250 * time.Millisecond
	// filesShare is the share of one CPU that reading text files takes at most. What is read costs as much again behind.
	filesShare = 0.35
	// filesWait is how long they wait after each round, in times that it took.
	filesWait = 3
)

// stream is one source as the agent keeps account of it.
type stream struct {
	status   SourceStatus
	required bool
	everUp   bool
	said     bool // its first state has come: it is positioned, or cannot be read
	position watcher.Position
	unsaved  bool
	witness  witness
	losses   losses
}

// newStream is a stream that nothing has come from yet.
func (a *Agent) newStream(source remediate.Source, path string, required bool) *stream {
	return &stream{
		required: required, status: SourceStatus{Source: source, Path: path},
		witness: witness{proven: neverProven, heard: a.audit.clock},
	}
}

// expected is a source that the configuration wants.
type expected struct {
	source   remediate.Source
	path     string
	required bool
	// build makes a source that goes on at a position, or where there is none, looks back.
	build func(position []byte, lookback time.Duration) (watcher.Source, error)
}

func (e expected) key() string { return remediate.Match{Source: e.source, Path: e.path}.Key() }

// expectedSources lists the sources of the configuration.
func (a *Agent) expectedSources() []expected {
	c := a.cfg.Sources
	var list []expected
	if c.Kmsg != SwitchOff {
		list = append(list, expected{remediate.SourceKmsg, "", c.Kmsg == SwitchOn, a.buildKmsg})
	}
	if c.Journal != SwitchOff {
		list = append(list, expected{remediate.SourceJournal, c.JournalDirectory, c.Journal == SwitchOn, a.buildJournal})
	}
	if c.Syslog != SwitchOff {
		for _, path := range c.SyslogFiles {
			list = append(list, expected{remediate.SourceSyslog, path, c.Syslog == SwitchOn,
				func(position []byte, lookback time.Duration) (watcher.Source, error) {
					return a.buildSyslog(path, position, lookback)
				}})
		}
	}
	return list
}

// openSources prepares every source of the configuration to be run. Their batches go to a.batches.
func (a *Agent) openSources() ([]func(context.Context) error, error) {
	var run []func(context.Context) error
	for _, e := range a.expectedSources() {
		st := a.newStream(e.source, e.path, e.required)
		a.streams[e.key()] = st
		if err := st.losses.restore(a.meta[lossesKey(e.key())]); err != nil {
			a.cfg.Log.Warn(err.Error(), zap.String("source", e.key()))
		}
		position := a.positions[e.key()]
		src, err := e.build(position, a.cfg.Sources.Lookback)
		if err != nil && position != nil {
			a.cfg.Log.Warn("saved position not understood, source begun afresh", zap.String("source", e.key()), zap.Error(err))
			a.sourceEvent(remediate.EventSourceDegraded, st, 0,
				"the saved position was not understood, so records since the last stop may be missed or old: "+err.Error())
			position = nil
			src, err = e.build(nil, a.cfg.Sources.Lookback)
		}
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", e.key(), err)
		}
		run = append(run, func(ctx context.Context) error {
			if err := a.supervise(ctx, e, src, position); err != nil {
				return fmt.Errorf("source %s must be there (sources.%s.enabled: true; with auto the agent does without): %w",
					e.key(), e.source, err)
			}
			return nil
		})
	}
	if len(a.streams) == 0 {
		return nil, fmt.Errorf("%w: all are switched off under sources in the configuration", ErrNoSource)
	}
	return run, nil
}

// filesNow is the channel of text files, or nil, which has nothing, while they have to wait.
func (a *Agent) filesNow(now time.Time) <-chan watcher.Batch {
	if now.Before(a.filesAfter) {
		return nil
	}
	return a.files
}

// takeFiles books what text files bring, and has them wait then. Anybody may be able to write to them, and each round
// has every namespace read: however much they bring, the loop has most of its time for what the kernel alone can say.
func (a *Agent) takeFiles(first watcher.Batch) error {
	start := time.Now()
	err := a.takeBatches(first, a.files)
	now := time.Now()
	a.filesAfter = now.Add(filesWait * now.Sub(start))
	return err
}

// takeBatches books a batch and what else is waiting. The kernel's counters are read first: they are the evidence that
// a record is checked against, and a step that is due must not wait for the bookkeeping.
func (a *Agent) takeBatches(first watcher.Batch, from <-chan watcher.Batch) error {
	batches := []watcher.Batch{first}
drain:
	for len(batches) < drainAtOnce {
		select {
		case b := <-from:
			batches = append(batches, b)
		default:
			break drain
		}
	}
	named, kernel := map[uint64]bool{}, false
	now := time.Now()
	for _, b := range batches {
		for _, m := range b.Matches {
			if !remediate.Anchor(now, m.Time).Before(a.startedAt.Add(-time.Second)) || m.Time.IsZero() {
				kernel = kernel || m.Source == remediate.SourceKmsg
				named[m.NetNS] = true // an old record is history: the counters of now say nothing of it
			}
		}
	}
	if len(named) > 0 {
		a.discoverFor(named)
		a.check(named)
		a.discoverUnnamed(named, kernel)
	}
	for _, b := range batches {
		a.takeBatch(b)
	}
	a.noteCaughtUp()
	return a.checkSources()
}

func (a *Agent) takeBatch(b watcher.Batch) {
	key := remediate.Match{Source: b.Source, Path: b.Path}.Key()
	st := a.streams[key]
	if st == nil {
		st = a.newStream(b.Source, b.Path, false)
		a.streams[key] = st
	}
	now := time.Now()
	for _, m := range b.Matches {
		a.queue(a.tracker.Match(now, m)...)
	}
	st.status.Records += b.Stats.Records
	st.status.Matches += b.Stats.Matches
	st.status.Lost += b.Stats.Lost
	if b.CaughtUp && !st.status.CaughtUp {
		st.status.CaughtUp = true
		a.savedAt = time.Time{} // the next start goes on from here, however soon it comes
	}
	if !b.Last.IsZero() && b.Stats.Records > 0 {
		lag := max(now.Sub(b.Last), 0)
		st.status.LastRecord, st.status.LagSeconds = b.Last, lag.Seconds()
		if !b.CaughtUp {
			lag = 0 // what came while nobody read is old, and nothing is late
		}
		a.audit.delivered(&st.witness, b.Stats.Records, lag)
	} else {
		a.audit.delivered(&st.witness, 0, 0)
	}
	a.audit.heard(&st.witness, b, a.bootID, a.trusted(b.Source))
	if b.Position.Data != nil {
		st.position, st.unsaved = b.Position, true
	}
	if b.State != nil {
		a.takeState(st, *b.State)
	}
	st.losses.add(b.Stats)
	a.sayLost(now, st, false)
}

// takeState books that a source was opened, failed or recovered. A syslog file or a journal that is not there at the
// start is said in the log alone, since many hosts lack one; all else is an event, which stands in the log too.
func (a *Agent) takeState(st *stream, s watcher.State) {
	wasUp, first := st.status.Up, !st.said
	st.said = true
	st.status.Up, st.status.Problem, st.status.Remedy = s.Up, s.Problem, s.Remedy
	fields := []zap.Field{zap.String("source", string(st.status.Source)), zap.String("path", st.status.Path)}
	degraded := !s.Up || s.Problem != ""
	st.everUp = st.everUp || s.Up
	st.status.Unused = s.Absent && !st.everUp && !st.required
	switch {
	case s.Absent && first && st.status.Source != remediate.SourceKmsg && !st.required:
		a.cfg.Log.Info("source not used", append(fields, zap.String("problem", s.Problem), zap.String("remedy", s.Remedy))...)
	case degraded && (first || wasUp):
		a.sourceEvent(remediate.EventSourceDegraded, st, 0, s.Problem)
	case s.Up && !first:
		a.sourceEvent(remediate.EventSourceRecovered, st, 0, "")
	case s.Up:
		a.cfg.Log.Info("source open", fields...)
	}
}

func (a *Agent) sourceEvent(typ remediate.EventType, st *stream, lost uint64, problem string) {
	a.sourceFault(typ, st, lost, problem, st.status.Remedy)
}

func (a *Agent) sourceFault(typ remediate.EventType, st *stream, lost uint64, problem, remedy string) {
	a.queue(a.tracker.Event(time.Now(), typ, remediate.SourceState{
		Source: st.status.Source, Path: st.status.Path, Lost: lost, Problem: problem, Remedy: remedy,
	}))
}

// noteCaughtUp tells the tracker when all that was there before the start has been delivered.
func (a *Agent) noteCaughtUp() {
	for _, st := range a.streams {
		if !st.said || st.status.Up && !st.status.CaughtUp {
			return
		}
	}
	a.tracker.CaughtUp()
}

// checkSources says ready once every source is positioned or known to be unreadable, and fails where none is left.
func (a *Agent) checkSources() error {
	if a.ready {
		return nil
	}
	var why []string
	for _, st := range a.streams {
		switch {
		case !st.said:
			return nil
		case !st.status.Up:
			why = append(why, fmt.Sprintf("%s: %s (%s)", st.status.Source, st.status.Problem, st.status.Remedy))
		}
	}
	if len(why) == len(a.streams) {
		slices.Sort(why)
		return fmt.Errorf("%w:\n  %s", ErrNoSource, strings.Join(why, "\n  "))
	}
	a.becomeReady()
	return nil
}

// unsavedPositions returns the positions that moved since they were last saved.
func (a *Agent) unsavedPositions() map[string][]byte {
	out := map[string][]byte{}
	for _, st := range a.streams {
		if st.unsaved {
			out[st.position.Key] = st.position.Data
			st.unsaved = false
		}
	}
	return out
}

func (a *Agent) buildKmsg(position []byte, lookback time.Duration) (watcher.Source, error) {
	c := a.cfg.Sources
	return watcher.NewKmsg(watcher.KmsgConfig{
		Path: c.KmsgPath, BootID: a.bootID, Position: position, Lookback: lookback, Required: c.Kmsg == SwitchOn,
		Beat: a.beat(), Log: a.cfg.Log,
	})
}

func (a *Agent) buildJournal(position []byte, lookback time.Duration) (watcher.Source, error) {
	c := a.cfg.Sources
	return watcher.NewJournal(watcher.JournalConfig{
		Directory: c.JournalDirectory, Host: a.cfg.Host, Position: position, Lookback: lookback,
		Required: c.Journal == SwitchOn, Beat: a.beat(), Log: a.cfg.Log,
	})
}

func (a *Agent) buildSyslog(path string, position []byte, lookback time.Duration) (watcher.Source, error) {
	c := a.cfg.Sources
	return watcher.NewSyslog(watcher.SyslogConfig{
		Path: path, Host: a.cfg.Host, BootID: a.bootID, BootTime: a.bootTime, Position: position,
		Lookback: lookback, Required: c.Syslog == SwitchOn, Throttle: a.throttle, Beat: a.beat(), Log: a.cfg.Log,
	})
}

// beat is how often a source gives a sign of life: three times in the time after which it counts as stuck.
func (a *Agent) beat() time.Duration { return min(watcher.BeatEvery, a.audit.patience/3) }
