package notify

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/ctwarden/ctwarden/remediate"
)

// The bounds of the journal sink.
const (
	journalQueue = 16384    // records
	journalBytes = 16 << 20 // of their documents
	journalFlush = time.Second
)

// JournalSink writes each event as one structured record to the host's journal, so that it is kept where an operator
// looks first, also without NATS. Where the journal is not there, the record goes to the logger with the same fields.
//
// Record never blocks. A journal that is stuck blocks the library's write without a deadline; then the queue fills,
// further records are counted as dropped, and one goroutine stays in that write when Run returns.
type JournalSink struct {
	log *zap.Logger
	// queue holds 16384 records and is never closed; Run empties it. What finds it full is dropped and counted. The
	// first look at old logs can bring thousands of records at once. Pointers, so that an empty queue takes 128 KB: the
	// garbage collector lets the heap grow by as much again as is in use.
	queue chan *Outgoing
	// bytes is what the documents in the queue take together.
	bytes   atomic.Int64
	dropped atomic.Uint64
}

// NewJournalSink makes a sink that falls back to log.
func NewJournalSink(log *zap.Logger) *JournalSink {
	return &JournalSink{log: log, queue: make(chan *Outgoing, journalQueue)}
}

// Record hands over an event. It never blocks.
func (j *JournalSink) Record(ev Outgoing) {
	size := int64(len(ev.Body))
	if j.bytes.Add(size) <= journalBytes {
		select {
		case j.queue <- &ev:
			return
		default:
		}
	}
	j.bytes.Add(-size)
	j.dropped.Add(1)
}

// Dropped is the number of records lost to a journal that does not keep up.
func (j *JournalSink) Dropped() uint64 { return j.dropped.Load() }

// Run writes what Record hands over until ctx is done, then what is still queued, for a second at most.
func (j *JournalSink) Run(ctx context.Context) error {
	stop := make(chan struct{}) // closed by Run when no more records are to come
	done := make(chan struct{}) // closed by the writer when it is through
	// Not in an errgroup, whose Wait would wait for a journal that is stuck.
	go func() {
		defer close(done)
		j.write(stop)
	}()
	<-ctx.Done()
	close(stop)
	select {
	case <-done:
	case <-time.After(journalFlush):
		j.log.Warn("journal_stuck", zap.Int("records_left", len(j.queue)))
	}
	return nil
}

func (j *JournalSink) write(stop <-chan struct{}) {
	for {
		select {
		case ev := <-j.queue:
			j.send(*ev)
		case <-stop:
			for {
				select {
				case ev := <-j.queue:
					j.send(*ev)
				default:
					return
				}
			}
		}
	}
}

func (j *JournalSink) send(out Outgoing) {
	j.bytes.Add(-int64(len(out.Body)))
	message, priority, fields := journalRecord(out)
	if journal.Enabled() && journal.Send(message, priority, fields) == nil {
		return
	}
	all := []zap.Field{zap.String("line", message), zap.Int("priority", int(priority))}
	for k, v := range fields {
		all = append(all, zap.String(k, v))
	}
	j.log.Log(level(priority), "event", all...)
}

// level is the logger's word for a priority.
func level(p journal.Priority) zapcore.Level {
	switch {
	case p <= journal.PriErr:
		return zapcore.ErrorLevel
	case p == journal.PriWarning:
		return zapcore.WarnLevel
	}
	return zapcore.InfoLevel
}

// journalRecord is the record of an event: the line for people, syslog's priority and the fields.
func journalRecord(out Outgoing) (message string, p journal.Priority, fields map[string]string) {
	fields = map[string]string{
		"SYSLOG_IDENTIFIER": "ctwarden", "CTWARDEN_EVENT": string(out.Type), "CTWARDEN_ID": out.ID,
		"CTWARDEN_JSON": string(out.Body),
	}
	r, err := Decode(out.Body)
	if err != nil { // not one of ours; the body says it all
		return string(out.Type), journal.PriWarning, fields
	}
	add := func(name, value string) {
		if value != "" {
			fields[name] = value
		}
	}
	switch d := r.Event.Data.(type) {
	case remediate.Incident:
		add("CTWARDEN_INCIDENT", d.ID)
		add("CTWARDEN_SEVERITY", string(d.Severity))
		add("CTWARDEN_NETNS", d.NetNS.Name)
	case remediate.Step:
		add("CTWARDEN_INCIDENT", d.IncidentID)
		add("CTWARDEN_STEP", d.ID)
		add("CTWARDEN_REASON", string(d.Reason))
		add("CTWARDEN_NETNS", d.NetNS.Name)
	case remediate.SourceState:
		add("CTWARDEN_SOURCE", string(d.Source))
	}
	return string(out.Type) + ": " + Summary(r.Event), priority(r.Event), fields
}

// priority is syslog's: what a person must see first has the lowest number.
func priority(ev remediate.Event) journal.Priority {
	switch ev.Type {
	case remediate.EventIncidentOpened, remediate.EventIncidentUpdated:
		if d, ok := ev.Data.(remediate.Incident); ok && d.Historical {
			return journal.PriNotice
		} else if ok && d.Severity == remediate.SeverityCritical {
			return journal.PriErr
		}
		return journal.PriWarning
	case remediate.EventStepFailed:
		return journal.PriErr
	case remediate.EventStepRefused, remediate.EventStepReverted, remediate.EventSourceDegraded:
		return journal.PriWarning
	case remediate.EventStepConfirmed, remediate.EventAgentStarted, remediate.EventAgentStopped:
		return journal.PriInfo
	}
	return journal.PriNotice
}
