package agent

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// watch is an agent without a kernel whose sources a script plays.
type watch struct {
	*Agent
	now time.Time
	t   *testing.T
}

const kernLog = "/var/log/kern.log"

func newWatch(t *testing.T) *watch {
	t.Helper()
	w := &watch{now: time.Now(), t: t, Agent: &Agent{
		cfg: Config{Log: zap.NewNop(), Sources: SourcesConfig{Kmsg: SwitchAuto, Journal: SwitchAuto}}, bootID: "b1",
		streams: map[string]*stream{}, audit: auditor{patience: 30 * time.Second},
	}}
	w.tracker = remediate.NewTracker(remediate.TrackerConfig{Host: "hv1", BootID: "b1", Start: w.now}, remediate.TrackerState{})
	for _, s := range []struct {
		source remediate.Source
		path   string
	}{{remediate.SourceKmsg, ""}, {remediate.SourceJournal, ""}, {remediate.SourceSyslog, kernLog}} {
		w.takeBatch(watcher.Batch{Source: s.source, Path: s.path, CaughtUp: true, State: &watcher.State{Up: true}})
	}
	return w
}

// reads plays a batch of a source that names kernel records of a severity.
func (w *watch) reads(source remediate.Source, severity int, mono ...time.Duration) {
	b := watcher.Batch{Source: source, CaughtUp: true}
	if source == remediate.SourceSyslog {
		b.Path, severity = kernLog, watcher.SeverityUnknown
	}
	for _, m := range mono {
		b.Kernel = append(b.Kernel, watcher.KernelRecord{BootID: "b1", Mono: m, Severity: severity})
	}
	w.takeBatch(b)
}

// wait lets time pass, in which all but those that are dead show life.
func (w *watch) wait(d time.Duration, dead ...remediate.Source) {
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(tickEvery) {
		for _, s := range []remediate.Source{remediate.SourceKmsg, remediate.SourceJournal, remediate.SourceSyslog} {
			if !slices.Contains(dead, s) {
				w.reads(s, 0)
			}
		}
		w.auditSources(w.now)
	}
}

// told has what was said since the last call: the source, and what is wrong with it now.
func (w *watch) told() string {
	var said []string
	for _, ev := range w.events {
		s := ev.Data.(remediate.SourceState)
		text := string(s.Source) + " " + strings.TrimPrefix(string(ev.Type), "source.")
		if ev.Type == remediate.EventSourceDegraded {
			for _, st := range w.streams {
				if st.status.Source == s.Source {
					text += " " + w.audited(st).Fault
				}
			}
		}
		said = append(said, text)
	}
	w.events = nil
	slices.Sort(said)
	return strings.Join(said, ", ")
}

func (w *watch) want(what, said string) {
	w.t.Helper()
	if got := w.told(); got != said {
		w.t.Errorf("%s: said %q, want %q", what, got, said)
	}
}

const (
	debugLevel, info, warning, failure = 7, 6, 4, 3
	kmsg                               = remediate.SourceKmsg
	journal                            = remediate.SourceJournal
	syslog                             = remediate.SourceSyslog
)

func TestAuditQuietHost(t *testing.T) {
	w := newWatch(t)
	w.wait(time.Hour)
	w.want("nothing happens for an hour", "")
	w.reads(kmsg, warning, 5*time.Second)
	w.wait(time.Hour)
	w.want("sources that never delivered a kernel record", "")
}

func TestAuditDeadDaemons(t *testing.T) {
	w := newWatch(t)
	w.reads(syslog, 0, 10*time.Second) // the file may be faster than the ring buffer's batch
	w.reads(kmsg, info, 10*time.Second)
	w.reads(journal, info, 10*time.Second)
	w.wait(time.Hour)
	w.want("all the same", "")
	w.reads(kmsg, warning, 20*time.Second)
	w.wait(25 * time.Second)
	w.want("not for long enough", "")
	w.reads(journal, warning, 20*time.Second)
	w.wait(time.Minute)
	w.want("the file lacks a record, once", "syslog degraded behind")
	file := w.audited(w.streams["syslog:"+kernLog])
	if file.LagSeconds < 60 || !strings.Contains(file.Problem, kernLog) || file.Remedy == "" || !file.Up {
		t.Errorf("status %+v", file)
	}
	w.reads(kmsg, warning, 30*time.Second)
	w.wait(time.Minute)
	w.want("now the journal too", "journal degraded behind")
	w.reads(syslog, 0, 30*time.Second)
	w.reads(journal, warning, 31*time.Second) // and is ahead of the ring buffer
	w.wait(time.Minute)
	w.want("the file has caught up, the journal says nothing that is known", "syslog recovered")
	w.reads(kmsg, warning, 31*time.Second)
	w.wait(time.Minute)
	w.want("the journal was ahead; the file lacks one again", "journal recovered, syslog degraded behind")
}

func TestAuditFilesThatLeaveLinesOut(t *testing.T) {
	w := newWatch(t)
	w.reads(kmsg, failure, 10*time.Second)
	w.reads(syslog, 0, 10*time.Second)
	w.reads(kmsg, warning, 20*time.Second)
	w.reads(kmsg, debugLevel, 30*time.Second)
	w.wait(time.Hour)
	w.want("it was seen to have errors only", "")
	w.reads(kmsg, failure, 40*time.Second)
	w.wait(time.Minute)
	w.want("an error is missing", "syslog degraded behind")
}

// A rule of the syslog daemon's that keeps some lines from a file makes it seem behind again and again. That is said
// three times in a day.
func TestAuditFilterOfALine(t *testing.T) {
	w := newWatch(t)
	w.reads(kmsg, warning, 10*time.Second)
	w.reads(syslog, 0, 10*time.Second)
	behind := func(mono time.Duration) string {
		w.reads(kmsg, warning, mono)
		w.wait(time.Minute)
		w.reads(kmsg, warning, mono+time.Second)
		w.reads(syslog, 0, mono+time.Second)
		w.wait(time.Minute)
		return w.told()
	}
	for i := range mostBehind {
		if said := behind(time.Duration(i+2) * time.Minute); said != "syslog degraded , syslog recovered" {
			t.Errorf("time %d: said %q", i, said)
		}
	}
	if said := behind(time.Hour); said != "" {
		t.Errorf("said %q once more", said)
	}
	w.audit.clock += day
	if said := behind(2 * time.Hour); said != "syslog degraded , syslog recovered" {
		t.Errorf("a day later: said %q", said)
	}
}

func TestAuditForgedStamps(t *testing.T) {
	w := newWatch(t)
	w.reads(syslog, 0, 10*time.Second, 1000*time.Hour)
	w.reads(kmsg, warning, 10*time.Second)
	w.reads(kmsg, warning, 20*time.Second)
	w.wait(time.Minute)
	w.want("a stamp from the future hides nothing", "syslog degraded behind")
	if journal := w.audited(w.streams["journal"]); journal.Fault != "" {
		t.Errorf("a file accuses the journal: %+v", journal)
	}
}

func TestAuditWithoutTheRingBuffer(t *testing.T) {
	w := newWatch(t)
	w.takeBatch(watcher.Batch{Source: kmsg, State: &watcher.State{Problem: "not permitted"}})
	w.told()
	w.reads(journal, warning, 10*time.Second)
	w.reads(syslog, 0, 10*time.Second)
	w.reads(journal, warning, 20*time.Second)
	w.wait(time.Minute)
	w.want("the journal is the witness", "syslog degraded behind")
}

func TestAuditStuckReader(t *testing.T) {
	w := newWatch(t)
	w.wait(time.Minute, journal)
	w.want("no sign of life", "journal degraded stuck")
	if s := w.audited(w.streams["journal"]); s.LagSeconds < 55 || s.Problem == "" {
		t.Errorf("status %+v", s)
	}
	w.wait(time.Minute)
	w.want("it came back", "journal recovered")
	w.now = w.now.Add(10 * time.Hour)
	w.auditSources(w.now)
	w.wait(time.Second, kmsg, journal, syslog)
	w.want("the agent itself had stopped", "")
}

func TestAuditLateReader(t *testing.T) {
	w := newWatch(t)
	late := func(lag time.Duration) {
		w.takeBatch(watcher.Batch{Source: syslog, Path: kernLog, CaughtUp: true, Stats: watcher.Stats{Records: 9},
			Last: time.Now().Add(-lag)})
	}
	late(time.Hour) // once: the clock was set
	w.wait(time.Minute)
	w.want("one late record", "")
	for range 200 {
		late(time.Minute)
		w.wait(tickEvery, syslog)
	}
	w.want("more comes than is read", "syslog degraded late")
	w.wait(time.Second)
	w.want("it has caught up", "syslog recovered")
}

// failing is a source with a defect: it panics after each batch that it is told to deliver.
type failing struct {
	batch watcher.Batch
	after string
}

func (f failing) Run(ctx context.Context, out chan<- watcher.Batch) error {
	select {
	case out <- f.batch:
	case <-ctx.Done():
		return nil
	}
	if f.after == "wait" {
		<-ctx.Done()
		return nil
	}
	panic(f.after)
}

// A reader that fails on a defect is begun again behind what it delivered, and where it cannot get past something that
// is passed over. The agent goes on.
func TestReaderThatPanics(t *testing.T) {
	logged, logs := observer.New(zap.ErrorLevel)
	a := &Agent{cfg: Config{Log: zap.New(logged), Sources: SourcesConfig{Lookback: time.Minute}}, files: make(chan watcher.Batch, 99)}
	at := func(data string) watcher.Batch {
		return watcher.Batch{Source: syslog, Position: watcher.Position{Data: []byte(data)}}
	}
	plan := []struct {
		from string // "": the beginning
		failing
	}{
		{"first", failing{at("second"), "one"}},
		{"second", failing{watcher.Batch{Source: syslog}, "two"}},
		{"second", failing{watcher.Batch{Source: syslog}, "three"}},
		{"", failing{at("fourth"), "wait"}},
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	e := expected{source: syslog, path: kernLog, build: func(position []byte, lookback time.Duration) (watcher.Source, error) {
		n++
		if fromEnd := plan[n].from == ""; fromEnd != (lookback == 0) {
			t.Errorf("start %d looks back %v", n, lookback)
		}
		if string(position) != plan[n].from {
			t.Errorf("start %d goes on at %q, want %q", n, position, plan[n].from)
		}
		if n == len(plan)-1 {
			cancel()
		}
		return plan[n].failing, nil
	}}
	a.retry = time.Nanosecond
	if err := a.supervise(ctx, e, plan[0].failing, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if logs.Len() != 3 || !strings.Contains(logs.All()[0].ContextMap()["stack"].(string), "failing.Run") {
		t.Errorf("logged %v", logs.All())
	}
	down, lost := 0, 0
	for range len(a.files) {
		b := <-a.files
		if b.State != nil && !b.State.Up && b.State.Problem != "" {
			down++
		}
		if b.Stats.LostText != "" {
			lost++
		}
	}
	if down != 3 || lost != 1 {
		t.Errorf("said down %d times and lost %d times, want 3 and 1", down, lost)
	}
}

// stuck is a source whose reader does not come back.
type stuck struct{ release chan struct{} }

func (s stuck) Run(context.Context, chan<- watcher.Batch) error {
	<-s.release
	return nil
}

func TestStuckReaderIsLeftBehind(t *testing.T) {
	a := &Agent{cfg: Config{Log: zap.NewNop()}}
	s := stuck{make(chan struct{})}
	defer close(s.release)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.supervise(ctx, expected{source: syslog}, s, nil); err != nil {
		t.Error(err)
	}
}
