//go:build linux && cgo

package watcher

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/sdjournal"
)

// live reads what comes, until it is time to open the journal anew or something fails.
//
// While records come it looks ten times a second, whatever wakes it: journald tells of new records up to a quarter of a
// second late, and a reader that waits for that is late too. Else it waits for that, or for a file that comes or goes.
// What is there is read before libsystemd is told of files that came and went, since it closes those that went with
// whatever was unread.
func (j *Journal) live(ctx context.Context, h *sdjournal.Journal) error {
	failing, came := false, true
	behind := watch{}
	pace := newPace(j.tails.watched, j.send.beat)
	defer pace.close()
	for last := time.Now(); time.Since(last) < journalReopen; {
		if err := j.send.tick(ctx); err != nil {
			return err
		}
		if err := pace.wait(ctx, came, j.send.wait(j.send.beat)); err != nil {
			return err
		}
		n, err := j.drain(ctx, h)
		if err != nil && (failing || ctx.Err() != nil) {
			return err
		}
		failing = err != nil // in a file that is being vacuumed: libsystemd leaves it once it is told of that
		changed, err := process(h)
		if err != nil {
			return err
		}
		stuck := behind.too(j.tails.behind)
		if changed || stuck {
			err = j.lostUnread()
		}
		if err != nil || stuck || j.tails.begunAfresh() {
			return err
		}
		came = n > 0 || changed || failing || behind.behind // which shows a second later
		if n > 0 {
			last = time.Now()
		}
	}
	return nil
}

// watch looks once a second whether libsystemd has missed that a file came, as it does in a directory that was removed
// and made again.
type watch struct {
	looked time.Time
	behind bool
}

// too is true where behind was true a second ago and still is.
func (w *watch) too(behind func() bool) bool {
	if time.Since(w.looked) < time.Second {
		return false
	}
	was := w.behind
	w.looked, w.behind = time.Now(), behind()
	return was && w.behind
}

// drain reads all that is there and tells how many records that was.
func (j *Journal) drain(ctx context.Context, h *sdjournal.Journal) (read int, err error) {
	for {
		if ctx.Err() != nil {
			return read, ctx.Err()
		}
		j.tails.note()
		n, err := h.Next()
		if err != nil {
			return read, err
		}
		if n == 0 {
			j.tails.readAll()
			return read, nil
		}
		at, err := h.GetCursor()
		if err == nil && at == j.cursor {
			continue // where reading began
		}
		if err == nil {
			err = j.record(h, parseCursor(at))
			j.moved(at)
		}
		if err != nil {
			j.send.lost(1, damaged(err))
		}
		read++
		if j.touched++; j.touched == letGoEvery {
			j.touched = 0
			_ = letGo() // without it more is resident, which the kernel takes back when it has to
		}
		if err := j.send.full(ctx); err != nil {
			return read, err
		}
	}
}
