package watcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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

// watched is what tells of new lines and of rotations: the open files, and the directories that they may be renamed in.
func (s *Syslog) watched() watched {
	var w watched
	for _, path := range s.places() {
		w.dirs = append(w.dirs, filepath.Dir(path))
	}
	for _, f := range s.files {
		w.files = append(w.files, fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	}
	return w
}

// places are what rotated files are named after: the path, and what it is, or was, a link to.
func (s *Syslog) places() []string {
	list := []string{s.cfg.Path}
	for _, f := range s.files {
		if f.real != "" && !slices.Contains(list, f.real) {
			list = append(list, f.real)
		}
	}
	return list
}

// rested notes, when the bell has rung, that nothing was written to the files since they were last looked at.
func (s *Syslog) rested() {
	for now, i := time.Now(), 0; i < len(s.files); i++ {
		s.files[i].growth.rest(now)
	}
}

// awaitOpen waits until it is worth trying to open the path again, after the attempt that failed with err.
func (s *Syslog) awaitOpen(ctx context.Context, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return sleep(ctx, time.Second)
	}
	for end := time.Now().Add(untilLook(s.send.beat)); ; {
		b, err := hangUp(watched{dirs: awaited(s.cfg.Path)})
		if err != nil {
			return sleep(ctx, time.Second)
		}
		if _, err := os.Stat(s.cfg.Path); err == nil {
			b.close()
			return nil
		}
		rang, err := b.wait(ctx, time.Until(end))
		b.close()
		if err != nil || !rang {
			return err
		}
		if err := sleep(ctx, pollEvery); err != nil { // somebody may create and remove files without end there
			return err
		}
	}
}

// mostLinks is how many links are followed at most, as by the kernel.
const mostLinks = 40

// awaited are the directories in which something appears when a path that does not exist does: the nearest one that is
// there, and where the path is a link that leads nowhere, the same of that.
func awaited(path string) (dirs []string) {
	for range mostLinks {
		target, err := os.Readlink(path)
		dir := filepath.Dir(path)
		for info, err := os.Stat(dir); (err != nil || !info.IsDir()) && dir != filepath.Dir(dir); info, err = os.Stat(dir) {
			dir = filepath.Dir(dir)
		}
		dirs = append(dirs, dir)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	return dirs
}
