package watcher

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

const (
	burstEvery = 10 * time.Millisecond
	burstLines = 500 // 50,000 a second
)

// rotator writes numbered lines at speed, as a syslog daemon does that appends and keeps its file open until it is told
// to open it anew, and rotates the file meanwhile.
type rotator struct {
	path    string
	written atomic.Int64 // the last line
	read    atomic.Int64 // the last line that the reader delivered
	reopen  atomic.Bool

	mu   sync.Mutex // held while a line is written, and by copytruncate to see what it destroys
	file *os.File
	// gone are the lines that copytruncate destroyed.
	gone []int
	took time.Duration
}

// write writes bursts until end is closed, and one more.
func (r *rotator) write(end <-chan struct{}) error {
	start := time.Now()
	defer func() { r.took = time.Since(start) }()
	tick := time.NewTicker(burstEvery)
	defer tick.Stop()
	for last := false; !last; {
		select {
		case <-end:
			last = true
		case <-tick.C:
		}
		if err := r.burst(); err != nil {
			return err
		}
	}
	return r.file.Close()
}

func (r *rotator) burst() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil || r.reopen.Swap(false) {
		if r.file != nil {
			r.file.Close()
		}
		var err error
		if r.file, err = os.OpenFile(r.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); err != nil {
			return err
		}
	}
	var text strings.Builder
	n := int(r.written.Load())
	for range burstLines {
		n++
		text.WriteString(kernLine(n))
	}
	_, err := r.file.WriteString(text.String())
	r.written.Store(int64(n))
	return err
}

// lines waits until so many more lines were written.
func (r *rotator) lines(t *testing.T, n int) {
	want := r.written.Load() + int64(n)
	testhost.Eventually(t, "lines are written", func() bool { return r.written.Load() >= want })
}

// looked waits until the reader has delivered a line that was written by now, so that it has seen the file.
func (r *rotator) looked(t *testing.T) {
	r.lines(t, burstLines)
	want := r.written.Load()
	testhost.Eventually(t, "the file is seen", func() bool { return r.read.Load() >= want })
}

// shift renames kern.log.1 to kern.log.2 and so on, packed or not.
func (r *rotator) shift() error {
	for n := 200; n > 0; n-- {
		for _, ext := range []string{"", ".gz"} {
			err := os.Rename(fmt.Sprintf("%s.%d%s", r.path, n, ext), fmt.Sprintf("%s.%d%s", r.path, n+1, ext))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// create makes the new file, and the writer takes it.
func (r *rotator) create() error {
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	r.reopen.Store(true)
	return f.Close()
}

func (r *rotator) rename() error { return errors.Join(r.shift(), os.Rename(r.path, r.path+".1")) }

// copyTruncate copies the file while it is written to, then empties it. What was written between the two is gone.
func (r *rotator) copyTruncate() error {
	if err := r.shift(); err != nil {
		return err
	}
	from, err := os.OpenFile(r.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create(r.path + ".1")
	if err != nil {
		return err
	}
	copied, err := io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
	if err := errors.Join(err, to.Close()); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	rest, err := io.ReadAll(io.NewSectionReader(from, copied, 1<<40))
	if err != nil {
		return err
	}
	r.gone = append(r.gone, lineNumbers(rest)...)
	if len(rest) > 0 {
		// The line that the copy ends in, if it ends in one.
		r.gone = append(r.gone, lineNumbers(rest)[0]-1)
	}
	return from.Truncate(0)
}

// lineNumbers are the numbers of numbered lines.
func lineNumbers(text []byte) []int {
	var list []int
	for line := range bytes.Lines(text) {
		_, rest, _ := bytes.Cut(line, []byte("kernel: ["))
		var sec, usec int
		if n, _ := fmt.Sscanf(string(rest), "%d.%d]", &sec, &usec); n == 2 {
			list = append(list, sec*1e6+usec)
		}
	}
	return list
}

// rotatorModes rotate once.
var rotatorModes = map[string]func(t *testing.T, r *rotator) error{
	"rename, new file at once": func(t *testing.T, r *rotator) error {
		return errors.Join(r.rename(), r.create())
	},
	"rename, new file late": func(t *testing.T, r *rotator) error {
		err := r.rename()
		r.lines(t, 20*burstLines) // longer than between two looks
		return errors.Join(err, r.create())
	},
	"nocreate": func(t *testing.T, r *rotator) error {
		err := r.rename()
		r.lines(t, burstLines)
		r.reopen.Store(true)
		r.lines(t, burstLines)
		return err
	},
	"copytruncate": func(t *testing.T, r *rotator) error { return r.copyTruncate() },
	"copytruncate, twice": func(t *testing.T, r *rotator) error {
		err := r.copyTruncate()
		r.lines(t, burstLines)
		return errors.Join(err, r.copyTruncate())
	},
	"rename, twice": func(t *testing.T, r *rotator) error {
		err := errors.Join(r.rename(), r.create())
		r.lines(t, burstLines)
		return errors.Join(err, r.rename(), r.create())
	},
	"rename and pack": func(t *testing.T, r *rotator) error {
		if _, err := os.Stat(r.path + ".1"); err == nil {
			pack(t, r.path+".1", ".gz")
		}
		return errors.Join(r.rename(), r.create())
	},
	"delete and recreate": func(t *testing.T, r *rotator) error {
		r.looked(t)
		return errors.Join(os.Remove(r.path), r.create())
	},
	"rename over": func(t *testing.T, r *rotator) error {
		r.looked(t)
		err := os.WriteFile(r.path+".new", nil, 0o600)
		err = errors.Join(err, os.Rename(r.path+".new", r.path))
		r.reopen.Store(true)
		return err
	},
	"symlink swap": func(t *testing.T, r *rotator) error {
		r.looked(t)
		target := filepath.Join(filepath.Dir(r.path), fmt.Sprintf("data.%d", r.written.Load()))
		err := os.WriteFile(target, nil, 0o600)
		err = errors.Join(err, os.Symlink(target, r.path+".link"), os.Rename(r.path+".link", r.path))
		r.reopen.Store(true)
		return err
	},
}

// TestPromiseRotator follows a file through rotations of every kind, at 50,000 lines a second.
func TestPromiseRotator(t *testing.T) {
	for mode, rotate := range rotatorModes {
		t.Run(mode, func(t *testing.T) {
			lines, missing, twice, gone := 0, 0, 0, 0
			runs, times := testhost.Amount(1, 10), testhost.Amount(5, 20)
			took := time.Duration(0)
			for range runs {
				l, r := testRotator(t, times, rotate)
				lines, missing, twice, gone = lines+l.n, missing+l.missing(), twice+l.twice(), gone+len(r.gone)
				took += r.took
			}
			testhost.Held(t, "2.1 "+mode, "lost %d (destroyed by the rotation: %d), twice %d of %d lines in %d rotations, %d lines/s",
				missing, gone, twice, lines, runs*times, int(float64(lines)/took.Seconds()))
		})
	}
}

func testRotator(t *testing.T, times int, rotate func(t *testing.T, r *rotator) error) (*numbered, *rotator) {
	l := newNumbered(t)
	l.write("")
	l.start()
	l.until("the beginning", func() bool { return l.caughtUp })
	r := &rotator{path: l.path}
	var work errgroup.Group
	end, rotated := make(chan struct{}), make(chan struct{})
	work.Go(func() error { return r.write(end) })
	work.Go(func() error {
		defer close(rotated)
		defer close(end)
		for range times {
			r.lines(t, 5*burstLines) // twice between two looks
			if err := rotate(t, r); err != nil {
				return err
			}
		}
		r.lines(t, burstLines)
		return nil
	})
	done := false
	l.until("the last line", func() bool {
		if len(l.got) > 0 {
			r.read.Store(int64(l.got[len(l.got)-1]))
		}
		select {
		case <-rotated:
			done = true
		default:
		}
		l.n = int(r.written.Load())
		return done && len(l.got) > 0 && l.got[len(l.got)-1] == l.n
	})
	if err := work.Wait(); err != nil {
		t.Fatal(err)
	}
	l.until("the very last line", func() bool {
		l.n = int(r.written.Load())
		return l.got[len(l.got)-1] == l.n
	})
	l.stop()
	l.wantAll(r.gone...)
	if len(r.gone) == 0 && l.lost > 0 {
		t.Errorf("said to be lost, and nothing was: %d %s", l.lost, l.lostText)
	}
	return l, r
}
