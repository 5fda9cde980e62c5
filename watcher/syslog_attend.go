package watcher

import (
	"context"
	"os"
	"runtime"
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
	// heraldPause is the least time between two rings of a directory in which other files come and go.
	heraldPause = 10 * time.Millisecond
)

// heraldRings is what a copy shows by: it appears, or one that was there is written over and closed.
const heraldRings = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_CLOSE_WRITE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// herald tells of files that appear beside the log, or are written over, and are named after it: they may be copies that a
// rotation is about to truncate the log for. It belongs to one goroutine; whoever has it closes it.
type herald struct {
	bell   *bell    // nil: none could be had
	places []string // what rotated files are named after, in the directories that it hangs in
	failed time.Time
	copy   string // the newest that was told of; empty: none
}

// hang has it hang where files are named after these paths, if it does not yet and can be had.
func (h *herald) hang(places []string) {
	if h.bell != nil && !h.bell.worn && slices.Equal(h.places, places) {
		return
	}
	h.close()
	if time.Since(h.failed) < bellAgain {
		return
	}
	h.places = places
	b, err := hangUp(watched{copies: places})
	if err != nil {
		h.failed = time.Now()
		return
	}
	b.copied = func(path string) { h.copy = path }
	h.bell = b
}

// wait waits for d, or until something is told. It fails only when ctx is done.
func (h *herald) wait(ctx context.Context, d time.Duration) error {
	for end := time.Now().Add(d); h.copy == "" && d > 0; d = time.Until(end) {
		if h.bell == nil {
			return sleep(ctx, d)
		}
		rang, err := h.bell.wait(ctx, d)
		if err != nil {
			h.close()
			h.failed = time.Now()
		}
		if rang && h.copy == "" {
			if err := sleep(ctx, min(heraldPause, max(0, time.Until(end)))); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// take is what was told of since it was last asked; empty: nothing.
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
// or rotated, or the copy has not grown for a while. A copy that was whole before the last truncation was that one's.
func (s *Syslog) attend(ctx context.Context, copied string) error {
	f := s.files[0]
	if info, err := os.Stat(copied); err != nil || !info.ModTime().After(f.growth.cut) {
		return nil
	}
	size, begun := int64(-1), time.Now()
	grown, reported := begun, begun
	for time.Since(grown) < attendFor && time.Since(begun) < attendMost {
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

// pause waits for d, which is so short that nobody must be able to end it. Others go first then, where there is one CPU.
func pause(d time.Duration) {
	ts := unix.NsecToTimespec(d.Nanoseconds())
	_ = unix.Nanosleep(&ts, nil) // a signal ends it early
	runtime.Gosched()
}
