package watcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"go.uber.org/zap"
)

// searchAgain is how often the saved position is looked for again, where it is not found at once.
const searchAgain = 2

// open fills the queue: at the saved position, wherever that file is now; at the first start ever, near the end.
func (s *Syslog) open(ctx context.Context) error {
	m, err := openFamily(s.cfg.Path, s.pos)
	if err != nil {
		return err
	}
	if s.pos == nil {
		err = s.lookBack(m.live)
	} else {
		err = s.resume(ctx, m)
	}
	known := m.known() // while they are open
	if err = errors.Join(err, m.close(s.files)); err != nil {
		return err
	}
	s.files[len(s.files)-1].known = known
	s.state = State{Up: true}
	err = s.sampleHosts()
	s.setState()
	return err
}

// lookBack places the first start ever.
func (s *Syslog) lookBack(f *logFile) error {
	if f == nil {
		return s.absent()
	}
	s.files = []*logFile{f}
	s.oldest, s.oldEnd = s.cfg.Now().Add(-s.cfg.Lookback), f.end
	if s.cfg.Lookback <= 0 {
		return f.seekLine(f.end)
	}
	return f.seekLine(f.end - lookbackBytes)
}

func (s *Syslog) absent() error {
	return &fs.PathError{Op: "open", Path: s.cfg.Path, Err: fs.ErrNotExist}
}

// resume makes the queue that goes on at the saved position.
func (s *Syslog) resume(ctx context.Context, m *family) error {
	old, how, newer, err := m.search(ctx, s.pos)
	if err != nil {
		return err
	}
	if s.pos.Offset > 0 && (how == foundNot || how == foundShort) && s.missed < searchAgain {
		// It may have been copied and truncated since the family was listed.
		s.missed++
		return errMoving
	}
	s.missed = 0
	var list []*logFile
	if how == foundNot {
		list = s.beginAfresh(m)
	} else if list, err = s.goOn(m, old, how, newer); err != nil {
		return err
	}
	if m.live != nil && !slices.Contains(list, m.live) {
		list = append(list, m.live)
	}
	if len(list) == 0 {
		return s.absent()
	}
	s.files = list
	return nil
}

// goOn is the queue where the file of the position was found, without the live one unless it is that.
func (s *Syslog) goOn(m *family, old *logFile, how found, newer []*logFile) ([]*logFile, error) {
	s.cfg.Log.Info("going on in a log file", zap.String("file", old.Name()), zap.Int64("offset", s.pos.Offset), zap.Int("newer", len(newer)))
	switch {
	case how == foundHere:
		old.skipping = s.pos.Skip
		old.copied = old.packed || old != m.live && old.id != s.pos.fileID
	case how == foundDamaged:
		s.damaged(old, errDamaged)
		return newer, nil
	case old == m.live:
		s.send.lost(1, s.cfg.Path+" was cut off before the place that it was read to")
		return []*logFile{old}, old.seekLine(old.end)
	default: // a copy that was made too early
		return newer, nil
	}
	return append([]*logFile{old}, newer...), nil
}

// beginAfresh is the queue where there is no file of the position: all that was changed since, without the live one.
func (s *Syslog) beginAfresh(m *family) []*logFile {
	p := s.pos
	if p.Offset > 0 && !m.has(p.Next) {
		s.send.lost(1, s.cfg.Path+" was rotated or truncated while it was not being read, and the file read last is gone")
	}
	var list []*logFile
	if p.Changed > 0 {
		list = m.since(time.Unix(0, p.Changed), p.fileID)
	}
	if len(list) == 0 && p.Offset == 0 && m.live != nil && m.live.id == p.fileID {
		m.live.skipping = p.Skip
	}
	s.pos = &syslogPosition{Changed: p.Changed} // where to go on it does not say any more
	return list
}

// family opens the family while the queue is read. A link may have been re-pointed: then those belong to it too that are
// beside the last file in the queue.
func (s *Syslog) family() (*family, error) {
	return openFamily(s.cfg.Path, &syslogPosition{Real: s.files[len(s.files)-1].real})
}

// queue opens what is at the path now, and what was there for a moment between it and the last in the queue.
func (s *Syslog) queue() error {
	m, err := s.family()
	if err != nil {
		return err
	}
	last := s.files[len(s.files)-1]
	if m.live != nil && m.live.id == last.id {
		return m.close(nil)
	}
	list := unknown(m.behind(last), last.known, s.files)
	if back := s.takenBack(m.live); m.live != nil && !back {
		list = append(list, m.live)
	}
	if len(list) > 0 {
		list[len(list)-1].known = m.known()
	}
	s.files = append(s.files, list...)
	s.cfg.Log.Debug("file was rotated", zap.Int("files", len(list)))
	return m.close(list)
}

// takenBack tells whether the file at the path is in the queue already, since a rotation was taken back. It is the last
// one again then.
func (s *Syslog) takenBack(live *logFile) bool {
	if live == nil {
		return false
	}
	at := slices.IndexFunc(s.files, func(q *logFile) bool { return q.id == live.id })
	if at < 0 {
		return false
	}
	f := s.files[at]
	s.files = append(slices.Delete(s.files, at, at+1), f)
	return true
}

// begin is asked before the first lines of f are taken, and when it was changed and is empty. They may not be what came
// next: the file may have been copied and truncated, and written to anew, since it was seen to be empty. Then what was
// not known before, copies or other old files, is put before it, and errOlder says so. The lines must have been read
// before the family is listed, so that no copy can be missed.
func (s *Syslog) begin(f *logFile) error {
	if f.known == nil {
		return nil
	}
	m, err := s.family()
	if err != nil {
		return err
	}
	older := unknown(m.before(f), f.known, s.files)
	if len(older) == 0 {
		return m.close(nil)
	}
	if copies := f.copiesIn(older); len(copies) > 0 {
		s.truncated(f, copies, 0)
	}
	f.known = m.knownTo(f)
	s.know(older)
	s.files = slices.Insert(s.files, slices.Index(s.files, f), older...)
	return errors.Join(errOlder, m.close(older))
}

// rewritten goes on after f was truncated: with the copy that the rotation made of it and any made since, if there are
// such, then at its beginning.
func (s *Syslog) rewritten(ctx context.Context, f *logFile) error {
	m, err := s.family()
	if err != nil {
		return err
	}
	copies, unread, err := s.copies(ctx, m, f)
	if err != nil {
		return errors.Join(err, m.close(nil))
	}
	s.truncated(f, f.copiesIn(copies), unread)
	s.cfg.Log.Debug("file was truncated", zap.Int64("offset", f.off), zap.Int("copies", len(copies)))
	f.known = m.knownTo(f)
	s.know(copies)
	err = f.rewind()
	s.files = append(copies, s.files...)
	if len(copies) == 0 || copies[0].off == 0 {
		s.pos = &syslogPosition{} // what it names is gone
	}
	s.position(s.files[0], fileID{})
	return errors.Join(err, m.close(copies))
}

// copies are the copies that were made of f since it was begun: first that of what was being read, which is gone on with
// where f was read to. Unread is how many bytes of f were seen that are in none of them.
func (s *Syslog) copies(ctx context.Context, m *family, f *logFile) (copies []*logFile, unread int64, err error) {
	others := slices.DeleteFunc(slices.Clone(s.files), func(q *logFile) bool { return q == f })
	unread = f.unread()
	for _, r := range unknown(m.before(f), f.known, others) {
		how, err := r.find(ctx, f.place())
		if err != nil {
			return nil, 0, err
		}
		switch {
		case how == foundHere:
			unread = 0
			if !r.packed {
				unread = max(0, f.end-r.end)
			}
		case how == foundDamaged:
			s.damaged(r, errDamaged)
			continue
		case how == foundShort, bytes.HasPrefix(f.head, r.start()):
			continue // all of it was read
		}
		r.copied = true
		copies = append(copies, r)
	}
	return copies, unread, nil
}

// sampleHosts has the lines before the position looked at, to know whose they are.
func (s *Syslog) sampleHosts() error {
	f := s.files[0]
	if f.packed {
		return nil
	}
	start := max(0, f.off-blockSize)
	n, err := f.ReadAt(s.buf[:f.off-start], start)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	s.hosts.look(s.buf[:n])
	return nil
}
