package watcher

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"go.uber.org/zap"
)

// open fills the queue: at the saved position, wherever that file is now; at the first start ever, near the end.
func (s *Syslog) open() error {
	if s.pos == nil {
		live, err := openLog(s.cfg.Path)
		if err != nil {
			return err
		}
		s.files = []*logFile{live} // closed by Run from here on
		if err := s.lookBack(live); err != nil {
			return err
		}
	} else {
		m, err := openFamily(s.cfg.Path, s.pos.fileID)
		if err != nil {
			return err
		}
		s.files, err = s.resume(m)
		if err = errors.Join(err, m.close(s.files)); err != nil {
			return err
		}
	}
	s.state = State{Up: true}
	err := s.sampleHosts()
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

// resume makes the queue that goes on at the saved position.
func (s *Syslog) resume(m *family) ([]*logFile, error) {
	p, live := s.pos, m.live
	if live != nil && live.id == p.fileID && live.matches(p.Offset, p.Print) {
		return []*logFile{live}, live.resume(p)
	}
	old := m.find(p.fileID, p.Offset, p.Print)
	switch {
	case old != nil:
	case live == nil:
		return nil, &fs.PathError{Op: "open", Path: s.cfg.Path, Err: fs.ErrNotExist}
	case p.Ino != 0 && live.id != p.Next:
		s.send.lost(0, s.cfg.Path+" was rotated or truncated while it was not being read, and the file read last is gone")
		fallthrough
	default:
		return []*logFile{live}, nil
	}
	if err := old.resume(p); err != nil {
		return nil, err
	}
	files, err := m.newer(old, nil)
	files = append([]*logFile{old}, files...)
	if live != nil {
		files = append(files, live)
	}
	s.cfg.Log.Info("going on in a rotated file", zap.String("file", old.Name()), zap.Int64("offset", old.off), zap.Int("files", len(files)))
	return files, err
}

// resume goes to a saved position.
func (f *logFile) resume(p *syslogPosition) error {
	err := f.seek(p.Offset)
	f.skipping = p.Skip
	return err
}

// queue opens what is at the path now, and what was there for a moment between it and the last in the queue.
func (s *Syslog) queue() error {
	m, err := openFamily(s.cfg.Path, fileID{})
	if err != nil {
		return err
	}
	last := s.files[len(s.files)-1]
	if m.live == nil || m.live.id == last.id {
		return m.close(nil)
	}
	files, err := m.newer(last, s.files)
	files = append(files, m.live)
	s.files = append(s.files, files...)
	s.cfg.Log.Debug("file was rotated", zap.Int("files", len(files)))
	return errors.Join(err, m.close(files))
}

// rewritten goes on after f was truncated: with the copy that the rotation made of it and any made since, if there are
// such, then at its beginning.
func (s *Syslog) rewritten(f *logFile) error {
	m, err := openFamily(s.cfg.Path, fileID{})
	if err != nil {
		return err
	}
	var copies []*logFile
	if old := m.find(f.id, f.off, printOf(f.mark)); old != nil && old.id != f.id {
		if err := old.seek(f.off); err != nil {
			return errors.Join(err, m.close(nil))
		}
		newer, err := m.newer(old, s.files)
		if err != nil {
			return errors.Join(err, m.close(nil))
		}
		copies = append([]*logFile{old}, newer...)
		for _, c := range copies {
			c.copied = true
		}
	} else if unread := f.unread(); unread > 0 {
		s.send.lost(1, fmt.Sprintf("%s was truncated with %d bytes unread", s.cfg.Path, unread))
	}
	s.cfg.Log.Debug("file was truncated", zap.Int64("offset", f.off), zap.Int("copies", len(copies)))
	err = f.seek(0)
	s.files = append(copies, s.files...)
	s.position(s.files[0], fileID{})
	return errors.Join(err, m.close(copies))
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
