package watcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/hpcloud/tail"
	"golang.org/x/sys/unix"
)

// maxLine is the longest line that is looked at, in bytes with its end. The kernel's are at most about 1 KiB and
// syslog daemons cut at 8 KiB; anything longer is not a log line and is passed over.
const maxLine = 64 << 10

// tailer splits the live end of one open file into lines, by a hpcloud/tail that belongs to this file alone.
//
// That package follows a path by itself, but then it loses lines at every rotation, its Tell is off by what it has
// buffered, and its ReadString takes a line without end whole into memory. So it is not let near the file: it follows
// a pipe (its Pipe mode, Follow and ReOpen off, the logger silent), into which whole lines of bounded length are put,
// and as many are taken out before the next are put in. What it was given is then what it has delivered, and the
// position in the file is exact. It needs no polling of its own and never touches inotify.
type tailer struct {
	tail *tail.Tail
	pipe *os.File // the end that is written to
	room int      // what the pipe takes without anybody reading
}

// newTailer starts a tail. close ends it.
func newTailer() (*tailer, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe for tail: %w", err)
	}
	// Once tail has opened the pipe, through this descriptor's name, the descriptor is not needed.
	defer r.Close()
	room, err := unix.FcntlInt(r.Fd(), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("ask for the size of a pipe: %w", err)
	}
	t, err := tail.TailFile(fmt.Sprintf("/proc/self/fd/%d", r.Fd()), tail.Config{
		Pipe: true, Poll: true, MustExist: true, Logger: tail.DiscardingLogger,
	})
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("start tail: %w", err)
	}
	return &tailer{tail: t, pipe: w, room: room}, nil
}

// close ends the tail and waits for it. What it has not delivered is dropped.
func (t *tailer) close() error {
	err := t.pipe.Close()
	for range t.tail.Lines { // it does not look at its own Stop while it waits for a receiver
	}
	return errors.Join(err, t.tail.Wait())
}

// lines hands each line of block to each, without its end. Every line of block has an end; the longest may have
// maxLine bytes.
func (t *tailer) lines(ctx context.Context, block []byte, each func(line string)) error {
	for len(block) > 0 {
		chunk := t.chunk(block)
		block = block[len(chunk):]
		if _, err := t.pipe.Write(chunk); err != nil {
			return fmt.Errorf("feed tail: %w", err)
		}
		for range bytes.Count(chunk, []byte{'\n'}) {
			line, err := t.line(ctx)
			if err != nil {
				return err
			}
			each(line)
		}
	}
	return nil
}

// chunk is the front of block that the pipe takes whole; a single line may be longer, since tail gathers a line
// before it delivers it.
func (t *tailer) chunk(block []byte) []byte {
	if len(block) <= t.room {
		return block
	}
	if n := bytes.LastIndexByte(block[:t.room], '\n'); n >= 0 {
		return block[:n+1]
	}
	return block[:bytes.IndexByte(block, '\n')+1]
}

// line takes the next line out of the tail.
func (t *tailer) line(ctx context.Context) (string, error) {
	select {
	case line, ok := <-t.tail.Lines:
		if !ok {
			return "", fmt.Errorf("tail ended: %w", t.tail.Wait())
		}
		return line.Text, line.Err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
