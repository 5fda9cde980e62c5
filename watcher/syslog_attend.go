package watcher

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// attendEvery is how often a file is read while it is being copied: what comes to it between the last read and the
	// truncation nobody can read any more.
	attendEvery = time.Millisecond
	// attendNear is the same once the copy is nearly whole, for nearFor: then the truncation is near. It is less than what
	// Go's own timers take at the least.
	attendNear = 200 * time.Microsecond
	nearFor    = time.Second
	// attendFor is how long it goes on so after the copy has grown last: its writer may await the disk before it truncates.
	attendFor = 5 * time.Second
	// attendMost is how long it goes on at most: what appeared may be no copy, and grow for ever.
	attendMost = time.Minute
)

// herald tells of files that appear beside the log and are named after it: they may be copies that a rotation is about to
// truncate the log for. It belongs to one goroutine; whoever has it closes it.
type herald struct {
	path   string
	bell   *bell    // nil: none could be had
	dirs   []string // what it is hung on
	failed time.Time
	copy   string // what has appeared; empty: nothing
}

// hang has it hang on these directories, if it does not yet and can be had.
func (h *herald) hang(dirs []string) {
	if h.bell != nil && !h.bell.worn && slices.Equal(h.dirs, dirs) {
		return
	}
	h.close()
	if time.Since(h.failed) < bellAgain {
		return
	}
	b, err := hangUp(watched{dirs: dirs})
	if err != nil {
		h.failed = time.Now()
		return
	}
	b.appeared = h.appeared
	h.bell, h.dirs = b, dirs
}

func (h *herald) appeared(path string) {
	if _, ok := parseRotated(filepath.Base(path), filepath.Base(h.path)); ok {
		h.copy = path
	}
}

// wait waits for d, or until something has appeared. It fails only when ctx is done.
func (h *herald) wait(ctx context.Context, d time.Duration) error {
	for end := time.Now().Add(d); h.copy == "" && d > 0; d = time.Until(end) {
		if h.bell == nil {
			return sleep(ctx, d)
		}
		if _, err := h.bell.wait(ctx, d); err != nil {
			h.close()
			h.failed = time.Now()
		}
	}
	return ctx.Err()
}

// take tells what has appeared since it was last asked; empty: nothing.
func (h *herald) take(ctx context.Context) (path string, err error) {
	err = h.wait(ctx, attendEvery)
	path, h.copy = h.copy, ""
	return path, err
}

func (h *herald) close() {
	if h.bell != nil {
		h.bell.close()
		h.bell = nil
	}
}

// attend reads the file at the path every millisecond while it may be being copied to another one, until it is truncated
// or rotated, or the copy has not grown for a while.
func (s *Syslog) attend(ctx context.Context, copied string) error {
	size, begun := int64(-1), time.Now()
	grown, reported := begun, begun
	for f := s.files[0]; time.Since(grown) < attendFor && time.Since(begun) < attendMost; {
		if info, err := os.Stat(copied); err == nil && info.Size() != size {
			size, grown = info.Size(), time.Now()
		}
		off := f.off
		s.notice()
		if err := s.read(ctx); err != nil {
			return err
		}
		if s.files[0] != f || len(s.files) > 1 || f.off < off || !s.gone.IsZero() {
			return nil // the next look is soon
		}
		if time.Since(reported) >= pollEvery {
			reported = time.Now()
			if err := s.report(ctx); err != nil {
				return err
			}
		}
		if size >= f.end-blockSize && time.Since(grown) < nearFor {
			pause(attendNear)
		} else if err := sleep(ctx, attendEvery); err != nil {
			return err
		}
	}
	return nil
}

// pause waits for d, which is so short that nobody must be able to end it.
func pause(d time.Duration) {
	ts := unix.NsecToTimespec(d.Nanoseconds())
	_ = unix.Nanosleep(&ts, nil) // a signal ends it early
}
