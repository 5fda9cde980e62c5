package watcher

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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
	burstLines = 500
	burstRate  = burstLines * int(time.Second/burstEvery) // lines a second
)

// rotator writes numbered lines at speed, as a syslog daemon does that appends and keeps its file open until it is told
// to open it anew, and rotates the file meanwhile.
type rotator struct {
	path    string
	written atomic.Int64  // the last line
	read    atomic.Int64  // the last line that the reader delivered
	lost    atomic.Uint64 // what it has counted as lost by then
	reopen  atomic.Bool

	mu    sync.Mutex // held while a line is written, and by copytruncate to see what it destroys
	file  *os.File
	burst time.Time     // the last one
	pause time.Duration // the longest between two bursts, since it was last asked for

	gone []int // the lines that copytruncate destroyed
	cuts int   // how often it did
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
		if err := r.writeBurst(); err != nil {
			return err
		}
	}
	return r.file.Close()
}

func (r *rotator) writeBurst() error {
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
	now := time.Now()
	if !r.burst.IsZero() {
		r.pause = max(r.pause, now.Sub(r.burst))
	}
	r.burst = now
	return err
}

// paused is the longest time that was between two bursts since it was last asked for.
func (r *rotator) paused() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { r.pause = 0 }()
	return r.pause
}

// lines waits until so many more lines were written.
func (r *rotator) lines(n int) error {
	want := r.written.Load() + int64(n)
	return testhost.Await("lines are written", func() bool { return r.written.Load() >= want })
}

// looked waits until the reader has delivered a line that was written by now, so that it has seen the file.
func (r *rotator) looked() error {
	if err := r.lines(burstLines); err != nil {
		return err
	}
	want := r.written.Load()
	return testhost.Await("the file is seen", func() bool { return r.read.Load() >= want })
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
	return errors.Join(r.shift(), r.copyTruncateTo(r.path+".1", 0))
}

// copyTruncateTo is copyTruncate with a copy of that name, and so many lines written between the two at least.
func (r *rotator) copyTruncateTo(name string, lines int) error {
	from, err := os.OpenFile(r.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create(name)
	if err != nil {
		return err
	}
	copied, err := io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
	if err := errors.Join(err, to.Close()); err != nil {
		return err
	}
	if lines > 0 {
		if err := r.lines(lines); err != nil {
			return err
		}
	}
	r.mu.Lock()
	rest, err := io.ReadAll(io.NewSectionReader(from, copied, 1<<40))
	err = errors.Join(err, from.Truncate(0))
	r.mu.Unlock()
	if err != nil {
		return err
	}
	r.gone = append(r.gone, lineNumbers(rest)...)
	if len(rest) > 0 {
		// The line that the copy ends in, if it ends in one.
		r.gone = append(r.gone, lineNumbers(rest)[0]-1)
	}
	r.cuts++
	return nil
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

// rotatorModes rotate once. Only copytruncate destroys lines.
var rotatorModes = map[string]func(r *rotator) error{
	"rename, new file at once": func(r *rotator) error {
		return errors.Join(r.rename(), r.create())
	},
	"rename, new file late": func(r *rotator) error {
		return errors.Join(r.rename(), r.lines(20*burstLines), r.create()) // longer than between two looks
	},
	"nocreate": func(r *rotator) error {
		err := errors.Join(r.rename(), r.lines(burstLines))
		r.reopen.Store(true)
		return errors.Join(err, r.lines(burstLines))
	},
	"copytruncate": (*rotator).copyTruncate,
	"copytruncate, twice": func(r *rotator) error {
		return errors.Join(r.copyTruncate(), r.lines(burstLines), r.copyTruncate())
	},
	"rename, twice": func(r *rotator) error {
		return errors.Join(r.rename(), r.create(), r.lines(burstLines), r.rename(), r.create())
	},
	"rename and pack": func(r *rotator) error {
		var err error
		if _, missing := os.Stat(r.path + ".1"); missing == nil {
			err = packFile(r.path+".1", ".gz")
		}
		return errors.Join(err, r.rename(), r.create())
	},
	"delete and recreate": func(r *rotator) error {
		return errors.Join(r.looked(), os.Remove(r.path), r.create())
	},
	"rename over": func(r *rotator) error {
		err := errors.Join(r.looked(), os.WriteFile(r.path+".new", nil, 0o600), os.Rename(r.path+".new", r.path))
		r.reopen.Store(true)
		return err
	},
	"symlink swap": func(r *rotator) error {
		err := r.looked()
		target := filepath.Join(filepath.Dir(r.path), fmt.Sprintf("data.%d", r.written.Load()))
		err = errors.Join(err, os.WriteFile(target, nil, 0o600))
		err = errors.Join(err, os.Symlink(target, r.path+".link"), os.Rename(r.path+".link", r.path))
		r.reopen.Store(true)
		return err
	},
}

// TestPromiseRotator follows a file through rotations of every kind, at 50,000 lines a second.
func TestPromiseRotator(t *testing.T) {
	for mode, rotate := range rotatorModes {
		t.Run(mode, func(t *testing.T) {
			needPacker(t, ".gz")
			lines, missing, twice, gone, told, counted := 0, 0, 0, 0, 0, uint64(0)
			runs, times := testhost.Amount(1, 10), testhost.Amount(5, 20)
			took := time.Duration(0)
			for range runs {
				l, r := testRotator(t, times, rotate)
				if strings.HasPrefix(mode, "copytruncate") {
					l.wantCounted(r.cuts, burstRate)
				} else {
					l.wantNothingTold()
				}
				told, counted = told+l.told, counted+l.lost
				lines, missing, twice, gone = lines+l.n, missing+l.missing(), twice+l.twice(), gone+len(r.gone)
				took += r.took
			}
			testhost.Held(t, "2.1 "+mode, "lost %d (destroyed by the rotation: %d, told %d times, counted %d), twice %d of %d lines in %d rotations, %d lines/s",
				missing, gone, told, counted, twice, lines, runs*times, int(float64(lines)/took.Seconds()))
		})
	}
}

func testRotator(t *testing.T, times int, rotate func(r *rotator) error) (*numbered, *rotator) {
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
			if err := r.lines(5 * burstLines); err != nil { // twice between two looks
				return err
			}
			if err := rotate(r); err != nil {
				return err
			}
		}
		return r.lines(burstLines)
	})
	done := false
	l.until("the last line", func() bool {
		if len(l.got) > 0 {
			r.lost.Store(l.lost)
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
	return l, r
}

// lookLines come between two looks at the file.
const lookLines = burstLines * int(pollEvery/burstEvery)

// counted is a rotation by copytruncate: the lines that it destroyed, those of them that nobody had read, and how many were
// counted.
type counted struct {
	destroyed, lost, counted int
	heldUp                   bool // the writer did not keep its pace: it wrote less in a moment than before that
	elsewhere                bool // the copy is where the reader does not see it
}

// copytruncated rotates times over, with more and more written between the copy and the truncation, two rotations between two
// looks, and at last with the copy elsewhere: of what comes in between, nobody knows that it has to be read in time.
func copytruncated(t *testing.T, times int) ([]counted, *numbered, *rotator) {
	rotations := [][]int{{0}, {2}, {1, 2}, {4}, {8}, {16}, {16}} // the bursts in between
	elsewhere := t.TempDir()
	var list, ends []counted
	l, r := testRotator(t, len(rotations)*times, func(r *rotator) error {
		err := r.lines(5 * lookLines)
		r.paused()
		n := len(ends) % len(rotations)
		end := counted{elsewhere: n == len(rotations)-1}
		for _, bursts := range rotations[n] {
			name := r.path + ".1"
			if end.elsewhere {
				name = filepath.Join(elsewhere, "copy")
			} else {
				err = errors.Join(err, r.shift())
			}
			err = errors.Join(err, r.copyTruncateTo(name, bursts*burstLines))
		}
		err = errors.Join(err, r.looked())
		end.destroyed, end.counted, end.heldUp = len(r.gone), int(r.lost.Load()), r.paused() > 3*burstEvery
		ends = append(ends, end)
		return err
	})
	var before counted
	for _, now := range ends {
		c := now
		for _, n := range r.gone[before.destroyed:now.destroyed] {
			if _, got := slices.BinarySearch(l.got, n); !got {
				c.lost++
			}
		}
		c.destroyed, c.counted = now.destroyed-before.destroyed, now.counted-before.counted
		t.Logf("%+v", c)
		list, before = append(list, c), now
	}
	return list, l, r
}

// TestPromiseCopytruncateCounted holds what is counted as lost against what copytruncate destroyed and nobody had read,
// rotation by rotation, of those in which the machine lets the writer keep its pace.
func TestPromiseCopytruncateCounted(t *testing.T) {
	list, l, r := copytruncated(t, testhost.Amount(2, 20))
	l.wantCounted(r.cuts, burstRate)
	var seen, blind counted // in all, of the rotations whose copy is seen, and of the others
	margin := 0             // a burst for each of those
	var off []int
	for _, c := range list {
		switch {
		case c.heldUp:
		case c.elsewhere:
			blind.lost, blind.counted = blind.lost+c.lost, blind.counted+c.counted
			margin += burstLines
		default:
			off = append(off, max(c.lost-c.counted, c.counted-c.lost))
			seen.destroyed, seen.lost, seen.counted = seen.destroyed+c.destroyed, seen.lost+c.lost, seen.counted+c.counted
		}
	}
	slices.Sort(off)
	each := testhost.Amount(burstLines, burstLines/2) // a dozen rotations are too few for the mean
	var median, most, mean int
	if len(off) >= len(list)/3 {
		median, most, mean = off[len(off)/2], off[len(off)-1], (seen.counted-seen.lost)/len(off)
		if seen.lost > seen.destroyed/testhost.Amount(2, 4) { // most was read before; of a dozen rotations one weighs much
			t.Errorf("%d lines were destroyed, and %d of them were not read before", seen.destroyed, seen.lost)
		}
		if median > 2*burstLines || max(mean, -mean) > seen.lost/len(off)/4+each {
			t.Errorf("in %d rotations %d lines are lost, and %d counted, off by %d at the median", len(off), seen.lost, seen.counted, median)
		}
	}
	if max(blind.lost-blind.counted, blind.counted-blind.lost) > blind.lost/2+margin {
		t.Errorf("%d lines are lost where nobody sees the copy, and %d counted", blind.lost, blind.counted)
	}
	testhost.Held(t, "2.1 copytruncate, counted", "lost %d (destroyed %d), counted %d in %d rotations; where the writer kept its pace, in %d "+
		"off by %d lines at the median, %d at most, %d in the mean, and where the copy is elsewhere lost %d, counted %d; %d lines/s",
		l.missing(), len(r.gone), l.lost, len(list), len(off), median, most, mean, blind.lost, blind.counted, int(float64(l.n)/r.took.Seconds()))
}
