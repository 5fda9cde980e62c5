package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger writes to the journal with native fields where systemd has connected stderr to it, and otherwise lines
// with the time to stderr. Each line is written before the logger returns.
func newLogger(stderr io.Writer, level zapcore.LevelEnabler) *zap.Logger {
	return zap.New(newCore(stderr, level, func(write func()) { write() }))
}

// newAgentLogger is newLogger for the agent, which must not wait for stderr or the journal: a goroutine writes the
// lines. The caller calls flush at the end, after which nothing may be logged.
func newAgentLogger(stderr io.Writer, level zapcore.LevelEnabler) (log *zap.Logger, flush func()) {
	direct := newLogger(stderr, level)
	b := newBacklog(func(n uint64) {
		direct.Warn("log lines dropped, since stderr or the journal did not take them", zap.Uint64("lines", n))
	})
	// Not in an errgroup, whose Wait would wait for a stderr that is stuck.
	go b.run()
	return zap.New(newCore(stderr, level, b.add)), func() { b.flush() }
}

// newCore makes the core for what stderr is connected to. It hands each line to deliver, as a function that writes it.
func newCore(stderr io.Writer, level zapcore.LevelEnabler, deliver func(write func())) zapcore.Core {
	if connected, err := journal.StderrIsJournalStream(); err == nil && connected {
		return &journalCore{LevelEnabler: level, stderr: stderr, deliver: deliver}
	}
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.ISO8601TimeEncoder
	enc.EncodeLevel = zapcore.CapitalLevelEncoder
	out := zapcore.Lock(zapcore.AddSync(delivered{stderr, deliver}))
	return consoleCore{zapcore.NewCore(zapcore.NewConsoleEncoder(enc), out, level)}
}

// delivered is a writer whose writes are delivered as a whole.
type delivered struct {
	to      io.Writer
	deliver func(write func())
}

// Write implements io.Writer. It never fails: a log that cannot be written has nobody to tell.
func (d delivered) Write(p []byte) (int, error) {
	text := bytes.Clone(p) // the caller's buffer is used again
	d.deliver(func() { _, _ = d.to.Write(text) })
	return len(p), nil
}

// consoleCore prints an event, which comes as a record for the journal, as the one line in it that is for people.
type consoleCore struct{ zapcore.Core }

// Check implements zapcore.Core.
func (c consoleCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// With implements zapcore.Core.
func (c consoleCore) With(fields []zapcore.Field) zapcore.Core {
	return consoleCore{c.Core.With(fields)}
}

// Write implements zapcore.Core.
func (c consoleCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	for _, f := range fields {
		if e.Message == "event" && f.Key == "line" {
			e.Message, fields = f.String, nil
			break
		}
	}
	return c.Core.Write(e, fields)
}

// warnLogger is for commands that do the agent's work themselves: what is not a warning is not of interest.
func warnLogger(stderr io.Writer) *zap.Logger { return newLogger(stderr, zapcore.WarnLevel) }

// journalCore sends each entry to journald, its fields as CTWARDEN_<NAME>, so that journalctl can select by them. The
// time is journald's own. It may be used from several goroutines.
type journalCore struct {
	zapcore.LevelEnabler
	fields  []zapcore.Field
	stderr  io.Writer
	deliver func(write func())
}

// With implements zapcore.Core.
func (c *journalCore) With(fields []zapcore.Field) zapcore.Core {
	with := *c
	with.fields = append(c.fields[:len(c.fields):len(c.fields)], fields...)
	return &with
}

// Check implements zapcore.Core.
func (c *journalCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write implements zapcore.Core. Where journald does not take the entry, it goes to stderr with its priority in front,
// which systemd understands.
func (c *journalCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range append(c.fields[:len(c.fields):len(c.fields)], fields...) {
		f.AddTo(enc)
	}
	vars := map[string]string{"SYSLOG_IDENTIFIER": "ctwarden"}
	text := e.Message
	for name, value := range maps.All(enc.Fields) {
		vars["CTWARDEN_"+journalName(name)] = plain(value)
	}
	if detail := vars["CTWARDEN_ERROR"]; detail != "" {
		text += ": " + detail
	}
	c.deliver(func() {
		if err := journal.Send(text, priority(e.Level), vars); err != nil {
			fmt.Fprintf(c.stderr, "<%d>%s\n", priority(e.Level), strings.ReplaceAll(text, "\n", " "))
		}
	})
	return nil
}

// Sync implements zapcore.Core; what is still to be delivered is not its own.
func (c *journalCore) Sync() error { return nil }

// journalName makes a field's name one that journald accepts.
func journalName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(name))
}

// plain is a value as text; anything composed is JSON.
func plain(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case fmt.Stringer:
		return v.String()
	}
	if b, err := json.Marshal(v); err == nil {
		return string(b)
	}
	return fmt.Sprint(v)
}

func priority(l zapcore.Level) journal.Priority {
	switch {
	case l < zapcore.InfoLevel:
		return journal.PriDebug
	case l < zapcore.WarnLevel:
		return journal.PriInfo
	case l < zapcore.ErrorLevel:
		return journal.PriWarning
	case l < zapcore.DPanicLevel:
		return journal.PriErr
	}
	return journal.PriCrit
}
