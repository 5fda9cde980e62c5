package replay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// DefaultLimit is the limit that the well-known incidents began at: the kernel's default of many years.
const DefaultLimit = 65536

// Config says how to replay. All of it but Location is needed.
type Config struct {
	// Policy is what would have been allowed; its mode is taken to be remediate.
	Policy remediate.Policy
	// CloseAfter is how long an incident lasts without a message.
	CloseAfter time.Duration
	// Limit is the limit at the first message of each host, in entries.
	Limit uint64
	// Host is the host whose records count; "*": any.
	Host string
	// Year is the year of the first line of each log (of its oldest piece, if it was rotated), where lines carry none; 0: the latest that fits the file's age.
	Year int
	// Location is the time zone of lines that carry none; nil: the local one.
	Location *time.Location
	// ScanJournal reads a journal directory; watcher.ScanJournal.
	ScanJournal func(ctx context.Context, dir, host string, emit func(remediate.Match) error) (watcher.Stats, error)
}

// Input is one place to read.
type Input struct {
	// Path is a log file, plain or packed, or "-" for standard input.
	Path string
	// Journal is true where Path is a directory of journal files.
	Journal bool
}

// Run reads the inputs and reports. An input that cannot be read, or not to its end, does not keep the others from being
// reported: the report is then good for what was read, and the error tells of all that was not. The report is of use
// unless ctx is done.
func Run(ctx context.Context, cfg Config, inputs []Input) (Report, error) {
	if cfg.Limit == 0 || cfg.Limit > remediate.MaxLimit {
		return Report{}, fmt.Errorf("limit %d: it must be from 1 to %d", cfg.Limit, remediate.MaxLimit)
	}
	report := Report{
		Sources: make([]Source, 0, len(inputs)), Incidents: []Incident{}, Host: cfg.Host, Limit: cfg.Limit, Ceiling: cfg.Policy.Ceiling,
	}
	history := remediate.NewHistory(cfg.CloseAfter)
	sources, errs := make([]*Source, len(inputs)), make([]error, len(inputs))
	for _, f := range families(inputs) {
		for _, p := range f.pieces {
			source, err := f.read(ctx, cfg, p, history)
			if ctx.Err() != nil {
				return Report{}, ctx.Err()
			}
			if err != nil {
				source.Error = err.Error()
			}
			sources[p.index], errs[p.index] = &source, err
		}
	}
	for _, source := range sources {
		if source != nil {
			report.Sources = append(report.Sources, *source)
			report.Matches += source.Matches
			report.Suppressed += source.Suppressed
		}
	}
	report.Incidents = simulate(cfg, history.Incidents())
	return report, errors.Join(errs...)
}

// read reads one piece into the history.
func (f *family) read(ctx context.Context, cfg Config, in piece, history *remediate.History) (Source, error) {
	f.next()
	emit := func(m remediate.Match) error {
		m.Path = f.stream(in, m)
		history.Add(placed(cfg, m))
		return nil
	}
	scan, kind := f.scanFile, remediate.SourceSyslog
	if in.Journal {
		scan, kind = scanJournal, remediate.SourceJournal
	}
	stats, err := scan(ctx, cfg, in.Path, emit)
	return Source{
		Path: in.Path, Kind: kind, Records: stats.Records, Bytes: stats.Bytes,
		Matches: stats.Matches, Suppressed: stats.Suppressed, Unparsed: stats.Unparsed,
		Rejected: Rejected{NotKernel: stats.NotKernel, OtherHost: stats.OtherHost},
	}, err
}

// placed gives a match the host and the time by which it finds its incident. A record that names no host is the host's
// own. One that has only a time since boot gets a time in the year 1, so that it is told from all others.
func placed(cfg Config, m remediate.Match) remediate.Match {
	if m.Host == "" && cfg.Host != "*" {
		m.Host = cfg.Host
	}
	if m.Time.IsZero() && m.Mono > 0 {
		m.Time = time.Time{}.Add(m.Mono)
	}
	return m
}

// wallOrUptime tells the two kinds of time that placed gives apart. Neither is known for the zero time.
func wallOrUptime(t time.Time) (wall time.Time, uptime float64) {
	if since := t.Sub(time.Time{}); since < 100*365*24*time.Hour {
		return time.Time{}, since.Seconds()
	}
	return t.UTC(), 0
}

func scanJournal(ctx context.Context, cfg Config, dir string, emit func(remediate.Match) error) (watcher.Stats, error) {
	return cfg.ScanJournal(ctx, dir, cfg.Host, emit)
}

func (f *family) scanFile(ctx context.Context, cfg Config, path string, emit func(remediate.Match) error) (watcher.Stats, error) {
	log, err := watcher.OpenLog(path)
	if err != nil {
		return watcher.Stats{}, remedied(path, err)
	}
	now, err := lastChange(path)
	if err != nil {
		return watcher.Stats{}, errors.Join(remedied(path, err), log.Close())
	}
	parser := watcher.NewLineParser(watcher.LineConfig{
		Source: remediate.SourceSyslog, Path: path, Host: cfg.Host, Now: now, Year: cfg.Year, Location: cfg.Location,
		After: f.lastLine,
	})
	stats, err := watcher.ScanReader(ctx, log, parser, emit)
	if err != nil {
		err = fmt.Errorf("read %s: %w; what stands before line %d was read", path, err, stats.Records+1)
	}
	f.lastLine = parser.Last()
	return stats, errors.Join(err, log.Close())
}

// lastChange is when the file was last written, behind which none of its lines can lie; zero, which means now, for
// standard input.
func lastChange(path string) (time.Time, error) {
	if path == "-" {
		return time.Time{}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}, err
	}
	if !info.Mode().IsRegular() {
		return time.Time{}, nil
	}
	return info.ModTime(), nil
}

// remedied adds what to do about a file that cannot be opened.
func remedied(path string, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: name an existing file, or - for standard input", err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: run as a user who may read it (log files: group adm), or pass it on standard input: sudo cat %s | ctwarden replay -",
			err, path)
	}
	return err
}

func netnsName(inode uint64) string {
	if inode == 0 {
		return "init"
	}
	return strconv.FormatUint(inode, 10)
}
