package watcher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// linger is how long a file that was rotated away must have been quiet, once its successor is written to, before
	// it is left: the writer may have a last line under way.
	linger = 200 * time.Millisecond
	// lingerDeleted is the same for one that was deleted while its successor is still empty: it takes disk space.
	lingerDeleted = time.Minute
	// goneAfter is how long the path may be missing before that is said; a rotation takes it away for a moment.
	goneAfter = 5 * time.Second
	// lookbackBytes is how much of a file's end the first start ever searches at most.
	lookbackBytes = 8 << 20
)

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
// and then from its beginning. The position names the file in front, so a restart finds it again by its inode or by the
// bytes before the position, wherever the rotation has moved it in the same directory.
type Syslog struct {
	cfg    SyslogConfig
	pos    *syslogPosition // where to begin or go on; nil: the first start ever
	files  []*logFile      // what is open: the file being read, then its successors
	buf    []byte
	parser *LineParser
	send   *sender
	hosts  hostCheck
	state  State     // what is to be said of the path
	gone   time.Time // since when there is nothing at the path
	// Matches before oldEnd in the first file that are older than oldest are dropped.
	oldest time.Time
	oldEnd int64
}

// syslogPosition is the saved form of the position.
type syslogPosition struct {
	fileID
	Offset int64  `json:"offset"`
	Print  string `json:"print,omitempty"` // fingerprint of the bytes before Offset
	Skip   bool   `json:"skip,omitempty"`  // Offset is in a line that is too long
	// Next is the file's successor, where it is read to its end.
	Next fileID `json:"next,omitzero"`
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
	}
	return s, nil
}

// Run follows the file until ctx is done. It fails only where the file is Required and cannot be opened at first.
func (s *Syslog) Run(ctx context.Context, out chan<- Batch) error {
	s.send = newSender(out, s.cfg.Now, remediate.SourceSyslog, s.cfg.Path)
	s.buf = make([]byte, markSize+blockSize)
	for first := true; ; first = false {
		err := s.open()
		if err != nil && first && s.cfg.Required {
			return err
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
			s.pos = new(syslogPosition) // when it appears it is new
		}
		s.send.setState(syslogProblem(s.cfg.Path, err))
		s.send.caughtUp()
		if s.send.flush(ctx) != nil || sleep(ctx, time.Second) != nil {
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

// follow reads the files of the queue until ctx is done or one of them fails.
func (s *Syslog) follow(ctx context.Context) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		s.notice()
		if err := s.read(ctx); err != nil {
			return err
		}
		if err := s.report(ctx); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// report sends what was read and the state.
func (s *Syslog) report(ctx context.Context) error {
	if s.hosts.anew {
		s.hosts.anew = false
		if err := s.sampleHosts(); err != nil {
			return err
		}
	}
	s.setState()
	return s.send.tick(ctx)
}

func (s *Syslog) setState() {
	st := s.state
	if st.Up {
		st = s.hosts.state(s.cfg.Path)
	}
	s.send.setState(st)
}

// notice looks at the path, and queues what has appeared there.
func (s *Syslog) notice() {
	last := s.files[len(s.files)-1]
	info, err := os.Stat(s.cfg.Path)
	switch {
	case err == nil && idOf(info) == last.id:
		s.state, s.gone = State{Up: true}, time.Time{}
		return
	case err == nil:
		err = s.queue(last)
	}
	now := s.cfg.Now()
	switch {
	case err == nil:
		s.state, s.gone = State{Up: true}, time.Time{}
	case !errors.Is(err, fs.ErrNotExist):
		s.state = syslogProblem(s.cfg.Path, err)
	case s.gone.IsZero():
		s.gone = now
	case now.Sub(s.gone) >= goneAfter:
		s.state = syslogProblem(s.cfg.Path, err)
	}
}

// queue opens what is at the path now, and what was there for a moment between it and last.
func (s *Syslog) queue(last *logFile) error {
	f, err := openLog(s.cfg.Path)
	if err != nil {
		return err
	}
	between, err := s.between(last, f)
	s.files = append(append(s.files, between...), f)
	s.cfg.Log.Debug("file was rotated", zap.Int("between", len(between)))
	return err
}

// read reads the queue as far as it goes: the file in front to its end, and if that is done with, the next.
func (s *Syslog) read(ctx context.Context) error {
	for {
		f := s.files[0]
		err := s.readFile(ctx, f)
		if errors.Is(err, errRewritten) {
			if err := s.rewritten(f); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if len(s.files) == 1 {
			s.position(f, fileID{})
			s.send.caughtUp()
			s.oldEnd = 0
			return nil
		}
		s.position(f, s.files[1].id)
		if done, err := s.finished(f); err != nil || !done {
			return err
		}
		if err := s.leave(f); err != nil {
			return err
		}
	}
}

// finished tells whether nothing more will come into f, which is read to its end and has a successor.
func (s *Syslog) finished(f *logFile) (bool, error) {
	if f.copied {
		return true, nil
	}
	next, err := s.files[1].Stat()
	if err != nil {
		return false, err
	}
	quiet := time.Since(f.grown)
	if next.Size() > 0 {
		return quiet >= linger, nil
	}
	return quiet >= lingerDeleted && f.deleted(), nil
}

// leave takes f out of the queue, unless it has grown after all. A last line without an end will not get one any more.
func (s *Syslog) leave(f *logFile) error {
	f.size = -1
	rest, more, err := f.read(s.buf)
	if err != nil || more || wholeLines(rest) > 0 {
		f.size = -1
		return nil // the next read sees to it
	}
	if len(rest) > 0 && len(rest) <= maxLine && !f.skipping {
		s.count(1, len(rest))
		s.line(f, rest)
	}
	s.files = s.files[1:]
	s.position(s.files[0], fileID{})
	return f.close()
}

// rewritten goes on after f was truncated: with the copy that the rotation made of it, if there is one, then at its
// beginning.
func (s *Syslog) rewritten(f *logFile) error {
	old, err := s.copyOf(f.off, printOf(f.mark), f.id)
	if err != nil {
		return err
	}
	if unread := f.unread(); old == nil && unread > 0 {
		s.send.lost(1, fmt.Sprintf("%s was truncated with %d bytes unread", s.cfg.Path, unread))
	}
	s.cfg.Log.Debug("file was truncated", zap.Int64("offset", f.off), zap.Bool("copy", old != nil))
	if err := f.seek(0); err != nil {
		return err
	}
	if old != nil {
		s.files = append([]*logFile{old}, s.files...)
	}
	s.position(s.files[0], fileID{})
	return nil
}

// position notes that everything before f's position has been read.
func (s *Syslog) position(f *logFile, next fileID) {
	pos := syslogPosition{fileID: f.id, Offset: f.off, Skip: f.skipping, Next: next}
	if s.pos != nil && s.pos.fileID == pos.fileID && s.pos.Offset == pos.Offset && s.pos.Next == pos.Next {
		return
	}
	pos.Print = printOf(f.mark)
	s.pos = &pos
	s.send.position(pos)
}

// readFile reads f to its end.
func (s *Syslog) readFile(ctx context.Context, f *logFile) error {
	for {
		data, more, err := f.read(s.buf)
		if err != nil {
			return err
		}
		n, err := s.block(ctx, f, data, more)
		if err != nil || n == 0 {
			return err
		}
		f.advance(s.buf, n)
		f.grown = time.Now()
		if !more {
			s.send.last(f.changed)
		} else if data[0] == 0 {
			if err := f.passHole(); err != nil {
				return err
			}
		}
		s.position(f, fileID{})
		if err := s.send.full(ctx); err != nil {
			return err
		}
	}
}

// block takes the lines at the front of data and tells how many bytes it took; 0: there is none with an end. A
// block that the file goes on behind is backlog and is scanned; the live end is tailed.
func (s *Syslog) block(ctx context.Context, f *logFile, data []byte, more bool) (int, error) {
	if len(data) == 0 {
		return 0, nil
	}
	if f.skipping {
		end := bytes.IndexByte(data, '\n') + 1
		if f.skipping = end == 0; f.skipping {
			end = len(data)
		}
		return end, nil
	}
	if zeros := len(data) - len(bytes.TrimLeft(data, "\x00")); zeros > 0 {
		if zeros == len(data) && !more {
			return 0, nil // a writer may yet fill them
		}
		return zeros, nil
	}
	whole := wholeLines(data)
	switch {
	case whole == 0 && len(data) <= maxLine:
		return 0, nil
	case whole == 0:
		s.tooLong(data)
		f.skipping = true
		return len(data), nil
	}
	s.hosts.look(data[:whole])
	if more {
		return whole, s.scan(ctx, f, data[:whole])
	}
	return whole, s.tail(ctx, f, data[:whole])
}
