package watcher

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/remediate"
)

// lookbackBytes is how much of a file's end the first start ever searches at most.
const lookbackBytes = 8 << 20

// SyslogConfig says which file to follow.
type SyslogConfig struct {
	// Path is the file, as the syslog daemon opens it.
	Path string
	// Host is this host's name: only its lines count. "*" is any host.
	Host string
	// BootID and BootTime are those of the running kernel; zero: unknown.
	BootID   string
	BootTime time.Time
	// Position is Batch.Position.Data as last saved. Nil: the first start ever.
	Position []byte
	// Lookback is how old, by their own time, the records may be that the first start ever reads; it searches the
	// last 8 MiB. Zero: only what comes from now on.
	Lookback time.Duration
	// Required makes Run fail where the file cannot be opened at first; otherwise it says so and waits for it.
	Required bool
	// Throttle bounds what reading costs, together with the other files that have it. Nil: no bound.
	Throttle *Throttle
	// Beat is how often it sends a batch at least, and how often it looks all the same where nothing was told of. Zero:
	// BeatEvery.
	Beat time.Duration
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// Log may be nil.
	Log *zap.Logger
}

// Syslog follows one file that a syslog daemon writes, through every way of rotating it.
//
// It holds a queue of open files, the one being read in front. A file that appears at the path under another inode is
// opened at once and put behind; the one in front is left when it is read to its end, its successor is being written
// to, and it has been quiet for a while. A file that was truncated is read on from its copy beside it, if there is one,
// and then from its beginning; that lines may be destroyed is told if it was being written to (growth). What was rotated
// since the last look is told by what was there then (knownFiles).
//
// The position names the file in front and what stands before it there (anchor), so a restart finds the place again by
// the inode or by the content, wherever the rotation has moved it in the same directory and however that was packed; then
// it reads on through all that was rotated since, in order, up to the live file.
type Syslog struct {
	cfg    SyslogConfig
	pos    *syslogPosition // where to begin or go on; nil: the first start ever
	files  []*logFile      // what is open: the file being read, then its successors
	buf    []byte
	parser *LineParser
	send   *sender
	hosts  hostCheck
	length lineLength
	owed   float64   // lines that are lost by estimate and not counted yet: a part of one
	state  State     // what is to be said of the path
	gone   time.Time // since when there is nothing at the path
	missed int       // how often the saved position was looked for in vain
	// noticed is when the path was looked at last.
	noticed time.Time
	// listed is when the directory was last changed before it was looked through.
	listed time.Time
	// Matches before oldEnd in the first file that are older than oldest are dropped.
	oldest time.Time
	oldEnd int64
}

// NewSyslog checks the configuration. It fails where the position is not one of its own.
func NewSyslog(cfg SyslogConfig) (*Syslog, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	cfg.Log = cfg.Log.With(zap.String("path", cfg.Path))
	s := &Syslog{cfg: cfg, hosts: newHostCheck(cfg.Host)}
	s.parser = NewLineParser(LineConfig{
		Source: remediate.SourceSyslog, Path: cfg.Path, Host: cfg.Host, BootID: cfg.BootID, BootTime: cfg.BootTime,
	})
	if cfg.Position != nil {
		s.pos = new(syslogPosition)
		if err := json.Unmarshal(cfg.Position, s.pos); err != nil {
			return nil, fmt.Errorf("read saved position of %s: %w", cfg.Path, err)
		}
		if s.pos.Offset < 0 {
			return nil, fmt.Errorf("read saved position of %s: offset %d is before the beginning", cfg.Path, s.pos.Offset)
		}
	}
	return s, nil
}

// Run follows the file until ctx is done. It fails only where the file is Required and cannot be opened at first.
func (s *Syslog) Run(ctx context.Context, out chan<- Batch) error {
	s.send = newSender(out, s.cfg.Now, remediate.SourceSyslog, s.cfg.Path)
	s.send.beat = cmp.Or(s.cfg.Beat, BeatEvery)
	s.buf = make([]byte, markSize+blockSize)
	for first := true; ; first = false {
		err := s.open(ctx)
		for errors.Is(err, errMoving) && sleep(ctx, pollEvery) == nil {
			err = s.open(ctx)
		}
		if err != nil && first && s.cfg.Required {
			return syslogProblem(s.cfg.Path, err).failure(err)
		}
		if err == nil {
			err = s.follow(ctx)
		}
		if cerr := s.closeAll(); err == nil {
			err = cerr
		}
		if ctx.Err() != nil {
			return nil
		}
		if s.pos == nil && errors.Is(err, fs.ErrNotExist) {
			s.pos = &syslogPosition{Changed: time.Now().UnixNano()} // when it appears it is new
			s.send.position(*s.pos)
		}
		s.send.setState(syslogProblem(s.cfg.Path, err))
		s.send.caughtUp()
		if s.send.flush(ctx) != nil || s.awaitOpen(ctx, err) != nil {
			return nil
		}
	}
}

func (s *Syslog) closeAll() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.close())
	}
	s.files = nil
	return errors.Join(errs...)
}

// syslogProblem explains to an operator why the file cannot be read.
func syslogProblem(path string, err error) State {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return State{
			Absent:  true,
			Problem: path + " does not exist",
			Remedy:  "nothing needs doing if another source is up; it is read as soon as it appears",
		}
	case errors.Is(err, fs.ErrPermission):
		return State{
			Problem: path + " is not readable: permission denied",
			Remedy:  "run as root or add the agent's user to the file's group (adm on Debian)",
		}
	case errors.Is(err, errNotFile):
		return State{
			Problem: path + " is not a regular file",
			Remedy:  "name the file that the syslog daemon writes under sources.syslog.files",
		}
	}
	return State{Problem: fmt.Sprintf("%s: %v", path, err), Remedy: "it is tried again every second"}
}
