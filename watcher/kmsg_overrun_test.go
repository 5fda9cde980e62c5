package watcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
)

// ring is the kernel's ring buffer, written to and read independently of the source. Its user holds the kernel's lock:
// whoever looks for a record of their own there must not find it overwritten.
type ring struct {
	write *os.File
	read  int // a descriptor that keeps up with what is written
	buf   [kmsgBuffer]byte
	last  uint64 // the sequence number of the last record
	first uint64 // that of the first record which was read
}

// openRing begins at the ring's end. Processes may write as much as they like until the end of the test.
func openRing(t *testing.T) *ring {
	t.Helper()
	testkernel.Hold(t)
	unlimited(t)
	w, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	r := &ring{write: w, read: fd}
	r.catchUp(t)
	return r
}

// unlimited lets processes write to /dev/kmsg without a rate limit until the end of the test.
func unlimited(t *testing.T) {
	t.Helper()
	const path = "/proc/sys/kernel/printk_devkmsg"
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	set := func(value string) {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(value); err != nil {
			t.Errorf("set %s: %v", path, err)
		}
	}
	set("on\n")
	t.Cleanup(func() { set(string(before)) })
}

// next reads one record by itself; false: there is none. An overrun is an error: this reader keeps up.
func (r *ring) next(t *testing.T) (rec []byte, ok bool) {
	t.Helper()
	for {
		n, err := unix.Read(r.read, r.buf[:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil, false
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EPIPE) && r.first == 0:
			continue
		case err != nil:
			t.Fatalf("the independent reader: %v", err)
		}
		return r.buf[:n], true
	}
}

func (r *ring) catchUp(t *testing.T) {
	t.Helper()
	for {
		rec, ok := r.next(t)
		if !ok {
			return
		}
		seq := sequence(t, rec)
		if r.first == 0 {
			r.first = seq
		} else if seq != r.last+1 {
			t.Fatalf("the independent reader: record %d after %d", seq, r.last)
		}
		r.last = seq
	}
}

// catchUpFrom reads to the end, whatever has been overrun.
func (r *ring) catchUpFrom(t *testing.T) {
	t.Helper()
	r.first = 0
	r.catchUp(t)
}

// sequence is a record's number, by the kernel's documentation of the format alone.
func sequence(t *testing.T, rec []byte) (seq uint64) {
	t.Helper()
	var prio uint64
	if _, err := fmt.Sscanf(string(rec), "%d,%d,", &prio, &seq); err != nil {
		t.Fatalf("record %q: %v", rec, err)
	}
	return seq
}

// start is the number of the oldest record that the ring still has.
func (r *ring) start(t *testing.T) uint64 {
	t.Helper()
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var buf [kmsgBuffer]byte
	for {
		n, err := unix.Read(fd, buf[:])
		if err == nil {
			return sequence(t, buf[:n])
		}
		if !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
	}
}

// overrun writes until the record after seq is gone, and as many again.
func (r *ring) overrun(t *testing.T, seq uint64) {
	t.Helper()
	fill := []byte("<15>ctwarden fills the ring " + strings.Repeat("x", 800) + "\n") // user.debug: not for the console
	for written := 0; ; written++ {
		if _, err := r.write.Write(fill); err != nil {
			t.Fatal(err)
		}
		if written%20 == 0 {
			r.catchUp(t)
			if r.start(t) > seq+50 {
				return
			}
		}
	}
}

// gate lets a source read from the device only while it is open.
type gate struct {
	kmsgReader
	pass chan struct{} // holds a token while open
}

func (g *gate) read(ctx context.Context, buf []byte, wait time.Duration) (int, error) {
	select {
	case <-g.pass:
		g.pass <- struct{}{}
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return g.kmsgReader.read(ctx, buf, wait)
}

// TestPromiseKmsgOverrun overruns the real ring while the source is kept from reading. What it says is lost must be the
// gap in the sequence numbers, by its own account and by that of a reader that keeps up; and it must read on.
func TestPromiseKmsgOverrun(t *testing.T) {
	testhost.NeedRoot(t)
	r := openRing(t)
	k, err := NewKmsg(KmsgConfig{Required: true})
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{pass: make(chan struct{}, 1)}
	g.pass <- struct{}{}
	k.wrap = func(dev kmsgReader) kmsgReader { g.kmsgReader = dev; return g }
	src := run(t, k)
	at := kmsgSeq(t, src.next(t, func(b Batch) bool { return b.CaughtUp && b.Position.Data != nil }))

	overruns := testhost.Amount(3, 100)
	records, lost := uint64(0), uint64(0)
	for range overruns {
		<-g.pass // the source stands still
		r.overrun(t, r.last)
		g.pass <- struct{}{}
		r.catchUp(t)
		b := src.next(t, func(b Batch) bool { return b.Position.Data != nil && kmsgSeq(t, b) >= r.last })
		now := kmsgSeq(t, b)
		if b.Stats.Lost == 0 || b.Stats.LostText == "" || b.Stats.Records+b.Stats.Lost != now-at {
			t.Fatalf("from record %d to %d: %d read, %d lost %q", at, now, b.Stats.Records, b.Stats.Lost, b.Stats.LostText)
		}
		r.catchUp(t)
		if r.last < now {
			t.Fatalf("the source is at record %d, the independent reader at %d", now, r.last)
		}
		at, records, lost = now, records+b.Stats.Records, lost+b.Stats.Lost
	}
	testhost.Held(t, "1.11 kmsg overrun", "%d reported lost + %d read = the gap in sequence numbers, in %d overruns of the real ring",
		lost, records, overruns)
}

// kmsgSeq is the number of the last record that the batch stands for.
func kmsgSeq(t *testing.T, b Batch) (seq uint64) {
	t.Helper()
	_, number, _ := bytes.Cut(b.Position.Data, []byte(`"seq":`))
	if _, err := fmt.Sscanf(string(number), "%d}", &seq); err != nil {
		t.Fatalf("position %s: %v", b.Position.Data, err)
	}
	return seq
}
