package watcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// linger is how long a file that was rotated away must have been quiet, once its successor is written to, before
	// it is left: the writer may have a last line under way.
	linger = 200 * time.Millisecond
	// lingerOld is the same by the time of its last change, as where it was rotated long before it is read.
	lingerOld = time.Second
	// lingerDeleted is the same for one that was deleted while its successor is still empty: it takes disk space.
	lingerDeleted = time.Minute
	// lingerBusy is how long a file that was rotated away may be written to beside its successor before it is left.
	lingerBusy = 5 * time.Second
	// goneAfter is how long the path may be missing before that is said; a rotation takes it away for a moment.
	goneAfter = 5 * time.Second
)

// follow reads the files of the queue until ctx is done or one of them fails.
func (s *Syslog) follow(ctx context.Context) error {
	pace := newPace(s.watched, s.send.beat)
	defer pace.close()
	var herald herald
	defer herald.close()
	pace.doze = herald.wait
	for {
		before := s.glance()
		herald.hang(s.places())
		if err := s.look(ctx); err != nil {
			return err
		}
		if err := pace.wait(ctx, s.glance() != before || s.unsettled(), s.send.wait(s.send.beat)); err != nil {
			return err
		}
		if pace.rang {
			s.rested()
		}
		copied, err := herald.take(ctx)
		if err == nil && copied != "" {
			err = s.attend(ctx, copied)
		}
		if err != nil {
			return err
		}
	}
}

// look reads what there is now, and sends it.
func (s *Syslog) look(ctx context.Context) error {
	s.notice()
	if err := s.read(ctx); err != nil {
		return err
	}
	return s.report(ctx)
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

// read reads the queue as far as it goes: the file in front to its end, and if that is done with, the next.
func (s *Syslog) read(ctx context.Context) error {
	for {
		done, err := s.readFront(ctx, s.files[0])
		switch {
		case errors.Is(err, errOlder):
			continue
		case errors.Is(err, errMoving):
			return nil // next time
		case err != nil || !done:
			return err
		}
	}
}

// readFront reads f, the file in front, to its end; done is true where it was left and there is another in front.
func (s *Syslog) readFront(ctx context.Context, f *logFile) (done bool, err error) {
	err = s.readFile(ctx, f)
	switch {
	case errors.Is(err, errRewritten):
		return true, s.rewritten(ctx, f)
	case errors.Is(err, errDamaged):
		s.damaged(f, err)
		f.unpacked.held = nil // what is left of a line is none
	case err != nil:
		return false, err
	}
	followed, err := s.followed()
	if err != nil {
		return false, err
	}
	if !followed {
		if err := s.stirred(); err != nil {
			return true, err
		}
		s.send.caughtUp()
	}
	if len(s.files) == 1 {
		s.position(f, fileID{})
		s.oldEnd = 0
		return false, nil
	}
	s.position(f, s.files[1].id)
	if !s.finished(f, followed) {
		return false, nil
	}
	return true, s.leave(f)
}

// followed tells whether there is anything in the files behind the one in front.
func (s *Syslog) followed() (bool, error) {
	for _, next := range s.files[1:] {
		info, err := next.Stat()
		if err != nil {
			return false, err
		}
		if info.Size() > 0 {
			return true, nil
		}
	}
	return false, nil
}

// damaged says that the rest of a packed file is lost.
func (s *Syslog) damaged(f *logFile, err error) {
	if !f.broken {
		f.broken = true
		s.send.lost(1, fmt.Sprintf("%s cannot be unpacked behind byte %d of what is in it: %v", f.Name(), f.off, err))
	}
}

// finished tells whether nothing more will come into f, which is read to its end and has a successor; followed says that
// there is something in that, or behind it.
//
// A file that is written to although it was rotated must not keep its successor from being read for ever.
func (s *Syslog) finished(f *logFile, followed bool) bool {
	quiet := time.Since(f.grown)
	switch {
	case f.copied:
		return true
	case !followed:
		return quiet >= lingerDeleted && f.deleted()
	// The time of the last change tells where it was rotated long before it is read.
	case quiet >= linger, time.Since(f.touched) >= lingerOld:
		return true
	case f.followed.IsZero():
		f.followed = time.Now()
	case time.Since(f.followed) >= lingerBusy:
		s.send.lost(0, f.Name()+" is still written to although another file has taken its place; what comes to it from now "+
			"on is not read: have its writer open the log again")
		return true
	}
	return false
}

// leave takes f out of the queue, unless it has grown after all. A last line without an end will not get one any more.
func (s *Syslog) leave(f *logFile) error {
	f.size = -1
	rest, more, err := f.read(s.buf)
	if err != nil && !f.broken || more || wholeLines(rest) > 0 {
		f.size = -1
		return nil // the next read sees to it
	}
	if len(rest) > 0 && len(rest) <= maxLine && !f.skipping {
		s.count(1, len(rest))
		s.line(f, rest)
	}
	s.files, s.oldEnd = s.files[1:], 0
	s.position(s.files[0], fileID{})
	return f.close()
}

// position notes that everything before f's position has been read. While that is its beginning, the end of the file
// before it says more: another may yet come between the two.
func (s *Syslog) position(f *logFile, next fileID) {
	pos := syslogPosition{fileID: f.id, Next: next, Skip: f.skipping, Real: f.real}
	pos.Offset = f.off
	if f.off == 0 && s.pos != nil && s.pos.Offset > 0 {
		pos.fileID, pos.Offset, pos.Next = s.pos.fileID, s.pos.Offset, f.id
	}
	if s.pos != nil && s.pos.fileID == pos.fileID && s.pos.Offset == pos.Offset && s.pos.Next == pos.Next {
		return
	}
	if pos.fileID == f.id && pos.Offset == f.off {
		pos.anchor, pos.Changed = f.place(), f.touched.UnixNano()
	} else {
		pos.anchor, pos.Changed, pos.Skip, pos.Real = s.pos.anchor, s.pos.Changed, s.pos.Skip, s.pos.Real
	}
	s.pos = &pos
	s.send.position(pos)
}

// readFile reads f to its end.
func (s *Syslog) readFile(ctx context.Context, f *logFile) error {
	for {
		start := time.Now()
		size, changed := f.size, f.changed
		data, more, err := f.read(s.buf)
		if err != nil {
			return err
		}
		if f.off == 0 && (f.size != size || !f.changed.Equal(changed) || len(data) > 0) && !onlyBegun(data, more) {
			if err := s.begin(f); err != nil {
				f.size = -1 // what was read is to be read again
				return err
			}
			if f.size == 0 {
				f.growth.look(start, 0) // and not before: begin asks what came since the look before
			}
		}
		n, err := s.block(ctx, f, data, more)
		if err != nil || n == 0 {
			return err
		}
		f.advance(s.buf, n)
		f.grown = time.Now()
		if !more || s.length.lines == 0 {
			s.length.took(data[:n])
		}
		if !more {
			s.send.last(f.changed)
		} else if data[0] == 0 && !f.packed {
			if err := f.passHole(); err != nil {
				return err
			}
		}
		s.position(f, fileID{})
		took := time.Since(start)
		if err := s.send.full(ctx); err != nil {
			return err
		}
		if err := s.cfg.Throttle.worked(ctx, took); err != nil {
			return err
		}
		if time.Since(s.noticed) >= pollEvery { // a file that lags behind must not hide what comes and goes meanwhile
			s.notice()
		}
	}
}

// onlyBegun tells whether data is nothing but the beginning of a line, of which nothing is taken yet.
func onlyBegun(data []byte, more bool) bool {
	return len(data) > 0 && len(data) <= maxLine && data[0] != 0 && !more && wholeLines(data) == 0
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
	if more || f.packed {
		return whole, s.scan(ctx, f, data[:whole])
	}
	return whole, s.tail(ctx, f, data[:whole])
}
