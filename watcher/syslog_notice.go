package watcher

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// notice looks at the path, and queues what has appeared there.
func (s *Syslog) notice() {
	s.noticed = time.Now()
	last := s.files[len(s.files)-1]
	info, err := os.Stat(s.cfg.Path)
	switch {
	case err == nil && idOf(info) == last.id:
		s.state, s.gone = State{Up: true}, time.Time{}
		return
	case err == nil:
		if err = s.queue(); errors.Is(err, errMoving) {
			return // next time
		}
	case errors.Is(err, fs.ErrNotExist) && s.stirredDir():
		if qerr := s.queue(); qerr != nil {
			s.listed = time.Time{} // next time
			return
		}
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

// stirredDir tells whether a file came, went or was renamed since it was last asked: while there is nothing at the path,
// a new file may have been there for a moment.
func (s *Syslog) stirredDir() bool {
	info, err := os.Stat(filepath.Dir(s.cfg.Path))
	if err != nil || info.ModTime().Equal(s.listed) {
		return false
	}
	s.listed = info.ModTime()
	return true
}

// stirred asks begin about files behind the one in front that are empty and were changed: something may have been written
// to them, copied and truncated.
func (s *Syslog) stirred() error {
	for _, next := range s.files[1:] {
		if next.off > 0 {
			continue
		}
		now := time.Now()
		info, err := next.Stat()
		if err != nil {
			return err
		}
		if !info.ModTime().Equal(next.touched) {
			if err := s.begin(next); err != nil {
				return err
			}
			next.touched = info.ModTime()
		}
		next.growth.look(now, info.Size())
	}
	return nil
}
