package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ctwarden/ctwarden/internal/state"
)

const (
	// readsWithin is how long the disk may give nothing at all while the state file is read, and beginWithin how long the
	// start waits at most for what it goes on from, which is a few pages of the file.
	readsWithin = 5 * time.Second
	beginWithin = 30 * time.Second
	// wholeWithin is how long it then waits for the rest, which can be hundreds of megabytes, and createWithin how long for
	// a file that has to be begun.
	wholeWithin  = 2 * time.Second
	createWithin = 5 * time.Second
)

// beginning is what comes of the first part of an opening.
type beginning struct {
	*state.Opening // nil where there is an error; Finish is not to be called
	err            error
}

// begin opens the file, in a turn of its own. What the agent goes on from comes on begun, before the outbox is read; done
// tells that the file is open. Both have a capacity of one, and nobody has to read them.
func (d *disk) begin() (begun <-chan beginning, done <-chan error) {
	first := make(chan beginning, 1)
	done, _ = d.start(0, func() error { return d.open(func(b beginning) { first <- b }) }) // nobody else has the turn yet
	return first, done
}

// open opens the file, and hands over the first part of it before it reads the rest. It is called within a turn.
func (d *disk) open(begun func(beginning)) error {
	if err := os.MkdirAll(filepath.Dir(d.path), 0o750); err != nil {
		err = fmt.Errorf("create state_dir: %w", err)
		begun(beginning{err: err})
		return err
	}
	o, err := state.Begin(d.path, d.opts)
	begun(beginning{o, err})
	if err != nil {
		return err
	}
	s, found, err := o.Finish()
	if err != nil {
		return err
	}
	d.news = &found
	d.store.Store(s)
	return nil
}

// awaitBegun waits for the first part for as long as the disk gives something.
func (d *disk) awaitBegun(ctx context.Context, begun <-chan beginning) (*state.Opening, error) {
	start := time.Now()
	look := time.NewTimer(readsWithin)
	defer look.Stop()
	for {
		select {
		case b := <-begun:
			return b.Opening, b.err
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-look.C:
		}
		waited := time.Since(start)
		still := waited
		if _, _, since, busy := d.opts.Progress.Of(); busy {
			still = since
		}
		if still >= readsWithin || waited >= beginWithin {
			return nil, d.slow()
		}
		look.Reset(min(readsWithin-still, beginWithin-waited))
	}
}

// awaitDone waits for the file to be open.
func (d *disk) awaitDone(ctx context.Context, done <-chan error, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return d.slow()
	}
}
