package watcher

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.uber.org/zap"
)

// open fills the queue: at the saved position, wherever that file is now; at the first start ever, near the end.
func (s *Syslog) open() error {
	live, err := openLog(s.cfg.Path)
	if err != nil && (s.pos == nil || !errors.Is(err, fs.ErrNotExist)) {
		return err
	}
	if s.pos == nil {
		s.files = []*logFile{live}
		err = s.lookBack(live)
	} else {
		s.files, err = s.resume(live, err)
	}
	if err != nil {
		return err // the queue is closed by Run
	}
	s.state = State{Up: true}
	err = s.sampleHosts()
	s.setState()
	return err
}

// lookBack places the first start ever.
func (s *Syslog) lookBack(f *logFile) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	s.oldest, s.oldEnd = s.cfg.Now().Add(-s.cfg.Lookback), info.Size()
	if s.cfg.Lookback <= 0 {
		return f.seekLine(info.Size())
	}
	return f.seekLine(info.Size() - lookbackBytes)
}

// resume makes the queue that goes on at the saved position. Live is the file at the path, or nil with the reason why
// there is none, which is returned where the file of the position is not found either.
func (s *Syslog) resume(live *logFile, missing error) ([]*logFile, error) {
	p := s.pos
	queue := func(files ...*logFile) []*logFile {
		if live != nil {
			files = append(files, live)
		}
		return files
	}
	if live != nil && live.id == p.fileID && live.matches(p.Offset, p.Print) {
		return queue(), live.resume(p)
	}
	old, err := s.find(p)
	if err != nil {
		return queue(), err
	}
	if old == nil {
		if live != nil && p.Ino != 0 && live.id != p.Next {
			s.send.lost(0, s.cfg.Path+" was rotated or truncated while it was not being read, and the file read last is gone")
		}
		return queue(), missing
	}
	if err := old.resume(p); err != nil {
		return queue(old), err
	}
	between, err := s.between(old, live)
	s.cfg.Log.Info("going on in a rotated file", zap.String("file", old.Name()), zap.Int64("offset", old.off), zap.Int("between", len(between)))
	return queue(append([]*logFile{old}, between...)...), err
}

// resume goes to a saved position.
func (f *logFile) resume(p *syslogPosition) error {
	err := f.seek(p.Offset)
	f.skipping = p.Skip
	return err
}

// find looks beside the path for the file of a saved position: by its inode, or a copy by its content. Nil: it is gone.
func (s *Syslog) find(p *syslogPosition) (*logFile, error) {
	entries, err := os.ReadDir(filepath.Dir(s.cfg.Path))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || idOf(info) != p.fileID {
			continue
		}
		f, err := openLog(filepath.Join(filepath.Dir(s.cfg.Path), e.Name()))
		if err != nil {
			return nil, err
		}
		if f.id == p.fileID && f.matches(p.Offset, p.Print) {
			return f, nil
		}
		if err := f.close(); err != nil {
			return nil, err
		}
	}
	return s.copyOf(p.Offset, p.Print, p.fileID)
}

// copyOf opens the newest rotated file that has before off what print is the print of, at off. It is what copytruncate
// leaves behind. Nil: there is none.
func (s *Syslog) copyOf(off int64, print string, not fileID) (*logFile, error) {
	if print == "" {
		return nil, nil
	}
	rotated, err := s.rotated()
	if err != nil {
		return nil, err
	}
	for _, r := range slices.Backward(rotated) {
		if idOf(r.info) == not || r.info.Size() < off {
			continue
		}
		f, err := openLog(r.path)
		if err != nil {
			continue // rotated on meanwhile
		}
		if f.matches(off, print) {
			f.copied = true
			return f, f.seek(off)
		}
		if err := f.close(); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// between opens the rotated files that were written after first and before last, oldest first: the files that came and
// went while nobody looked.
func (s *Syslog) between(first, last *logFile) ([]*logFile, error) {
	info, err := first.Stat()
	if err != nil {
		return nil, err
	}
	rotated, err := s.rotated()
	if err != nil {
		return nil, err
	}
	var files []*logFile
	for _, r := range rotated {
		id := idOf(r.info)
		if r.info.ModTime().Before(info.ModTime()) || id == first.id || last != nil && id == last.id || s.holds(id) {
			continue
		}
		f, err := openLog(r.path)
		if err != nil {
			return files, fmt.Errorf("open rotated file: %w", err)
		}
		files = append(files, f)
	}
	return files, nil
}

// holds tells whether a file is in the queue.
func (s *Syslog) holds(id fileID) bool {
	return slices.ContainsFunc(s.files, func(f *logFile) bool { return f.id == id })
}

// rotatedFile is a file beside the path whose name says that it was the path's before.
type rotatedFile struct {
	path string
	info fs.FileInfo
}

// rotatedSuffix is what logrotate puts behind a name: a number or a date.
var rotatedSuffix = regexp.MustCompile(`^[.-][0-9][0-9_.:T-]*$`)

// rotated lists the rotated files that are not compressed, oldest first by their last change.
func (s *Syslog) rotated() ([]rotatedFile, error) {
	dir, base := filepath.Split(s.cfg.Path)
	entries, err := os.ReadDir(filepath.Dir(s.cfg.Path))
	if err != nil {
		return nil, err
	}
	ext := filepath.Ext(base)
	stem := strings.TrimSuffix(base, ext)
	var files []rotatedFile
	for _, e := range entries {
		suffix, ok := strings.CutPrefix(e.Name(), base)
		if !ok { // "extension .log": kern-20260101.log
			if suffix, ok = strings.CutPrefix(e.Name(), stem); ok {
				suffix, ok = strings.CutSuffix(suffix, ext)
			}
		}
		if !ok || !rotatedSuffix.MatchString(suffix) {
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			files = append(files, rotatedFile{filepath.Join(dir, e.Name()), info})
		}
	}
	slices.SortStableFunc(files, func(a, b rotatedFile) int { return a.info.ModTime().Compare(b.info.ModTime()) })
	return files, nil
}

// sampleHosts has the lines before the position looked at, to know whose they are.
func (s *Syslog) sampleHosts() error {
	f := s.files[0]
	start := max(0, f.off-blockSize)
	n, err := f.ReadAt(s.buf[:f.off-start], start)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	s.hosts.look(s.buf[:n])
	return nil
}
