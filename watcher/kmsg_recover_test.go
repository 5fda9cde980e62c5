package watcher

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// sleepyKmsg never wakes its reader: what it has is there when the reader looks after the time that it was ready to
// wait.
type sleepyKmsg struct {
	left   int
	waited time.Duration
}

func (d *sleepyKmsg) read(ctx context.Context, buf []byte, wait time.Duration) (int, error) {
	switch {
	case d.left == 0 && wait > 0:
		<-ctx.Done()
		return 0, ctx.Err()
	case d.waited > 0: // the device reads before it waits
		d.waited = 0
		d.left--
		return copy(buf, kmsgLine(4, 100-d.left, 1)), nil
	case wait == 0:
		return 0, unix.EAGAIN
	}
	d.waited = wait
	return 0, os.ErrDeadlineExceeded
}

// TestKmsgMissedWakeup is a failure of other readers: a wake-up that is missed leaves them asleep for ever. This one
// looks at least once a second by itself.
func TestKmsgMissedWakeup(t *testing.T) {
	k, err := NewKmsg(KmsgConfig{BootID: "aa", Position: []byte(`{"boot_id":"aa","seq":90}`)})
	if err != nil {
		t.Fatal(err)
	}
	dev := &sleepyKmsg{left: 5}
	k.wrap = func(kmsgReader) kmsgReader { return dev }
	testhost.NeedRoot(t)
	b := run(t, k).next(t, func(b Batch) bool { return len(b.Matches) == 5 })
	if b.Stats.Records != 5 {
		t.Errorf("%+v", b.Stats)
	}
}

// brokenKmsg fails.
type brokenKmsg struct{}

func (brokenKmsg) read(context.Context, []byte, time.Duration) (int, error) { return 0, unix.EIO }

// TestKmsgRecovers is another: an error ends the reader for good, or has it spin. This one says so once, tries again
// every two seconds, and goes on where it was.
func TestKmsgRecovers(t *testing.T) {
	testhost.NeedRoot(t)
	k, err := NewKmsg(KmsgConfig{Required: false})
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	k.wrap = func(dev kmsgReader) kmsgReader {
		if opened++; opened == 2 {
			return brokenKmsg{}
		}
		if opened == 1 {
			return &failsLater{kmsgReader: dev}
		}
		return dev
	}
	r := run(t, k)
	first := r.next(t, func(b Batch) bool { return b.CaughtUp && b.Position.Data != nil })
	var down, up State
	b := r.next(t, func(b Batch) bool {
		if b.State != nil && !b.State.Up {
			down = *b.State
		}
		return b.State != nil && b.State.Up && down.Problem != ""
	})
	up = *b.State
	if opened != 3 || !strings.Contains(down.Problem, "input/output error") || down.Remedy == "" || up.Problem != "" {
		t.Errorf("opened %d times; %+v, then %+v", opened, down, up)
	}
	testhost.KernelRecord(t)
	after := r.next(t, records0of)
	sum := add(b, after)
	if sum.Stats.Records+sum.Stats.Lost != kmsgSeq(t, sum)-kmsgSeq(t, first) || sum.Stats.Lost != 0 {
		t.Errorf("from %s to %s: %+v", first.Position.Data, sum.Position.Data, sum.Stats)
	}
}

func records0of(b Batch) bool { return b.Stats.Records > 0 && b.Position.Data != nil }

// failsLater fails where it would wait.
type failsLater struct {
	kmsgReader
	idle int
}

func (f *failsLater) read(ctx context.Context, buf []byte, wait time.Duration) (int, error) {
	if wait > 0 {
		if f.idle++; f.idle > 1 {
			return 0, unix.EIO
		}
	}
	return f.kmsgReader.read(ctx, buf, wait)
}
