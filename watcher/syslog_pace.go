package watcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// glance is what shows that a look at the file in front found something.
type glance struct {
	front     *logFile
	off, size int64
	changed   time.Time
}

func (s *Syslog) glance() glance {
	f := s.files[0]
	return glance{f, f.off, f.size, f.changed}
}

// unsettled tells whether the next look may find something although nothing happens: a rotation is under way, or time
// alone decides.
func (s *Syslog) unsettled() bool {
	missing := !s.gone.IsZero() && s.state.Up
	return len(s.files) > 1 || missing
}

// watched is what tells of new lines and of rotations: the open file, and the directories that it may be renamed in.
func (s *Syslog) watched() watched {
	w := watched{dirs: []string{filepath.Dir(s.cfg.Path)}}
	for _, f := range s.files {
		w.files = append(w.files, fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
		if f.real != "" {
			w.dirs = append(w.dirs, filepath.Dir(f.real))
		}
	}
	return w
}

// awaitOpen waits until it is worth trying to open the path again, after the attempt that failed with err.
func (s *Syslog) awaitOpen(ctx context.Context, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return sleep(ctx, time.Second)
	}
	b, err := hangUp(watched{dirs: []string{filepath.Dir(s.cfg.Path)}})
	if err != nil {
		return sleep(ctx, time.Second)
	}
	defer b.close()
	for end := time.Now().Add(untilLook()); ; {
		if err := sleep(ctx, pollEvery); err != nil {
			return err
		}
		if _, err := os.Stat(s.cfg.Path); err == nil || !time.Now().Before(end) {
			return nil
		}
		if _, err := b.wait(ctx, time.Until(end)); err != nil {
			return err
		}
	}
}
