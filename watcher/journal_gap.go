//go:build linux && cgo

package watcher

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/sdjournal"
)

// find looks for the record that was read last. Where it is gone, libsystemd silently goes on at what it takes for the
// next one: so tell says whether that is to be told of as a loss, and where the next one would never come, the position
// is given up.
func (j *Journal) find(h *sdjournal.Journal, tell bool) error {
	if j.cursor == "" {
		return nil
	}
	switch err := h.SeekCursor(j.cursor); {
	case errors.Is(err, syscall.EINVAL):
		j.giveUp(tell, "the saved position is not one of a journal")
		return nil
	case err != nil:
		return err
	}
	n, err := h.Next()
	if err != nil {
		return err
	}
	var next cursor
	if n > 0 {
		switch err := h.TestCursor(j.cursor); {
		case err == nil:
			return nil
		case !errors.Is(err, sdjournal.ErrNoTestCursor):
			return err
		}
		at, err := h.GetCursor()
		if err != nil {
			return err
		}
		next = parseCursor(at)
	}
	last := parseCursor(j.cursor)
	follows := next.sequence != "" && next.sequence == last.sequence
	switch {
	case follows && next.seq == last.seq+1:
		return nil // what is gone had been read
	case follows && tell:
		j.send.lost(0, fmt.Sprintf("the journal no longer holds the record that was read last, and of the %d records of "+
			"all kinds behind it those of the kernel are lost: they were vacuumed", next.seq-last.seq-1))
	case follows:
	case last.real.After(j.cfg.Now()) && last.boot != j.cfg.BootID:
		j.giveUp(tell, "the saved position is of another journal and of a time that is still to come")
	case tell:
		j.send.lost(0, "the journal no longer holds the record that was read last: it was vacuumed or was kept in memory "+
			"only, and records after it may be lost")
	}
	return nil
}

// giveUp begins like a first start: behind such a position nothing would ever be read.
func (j *Journal) giveUp(tell bool, why string) {
	j.cursor = ""
	if tell {
		j.send.lost(0, why+", so that records since the last stop may be lost")
	}
}

// lostUnread tells of the records that went with their file before they could be read.
func (j *Journal) lostUnread() error {
	lost, err := j.tails.missed(func(s span) (n, highest uint64, err error) { return countRecords(j.cfg.Directory, s) })
	if lost > 0 {
		j.send.lost(0, fmt.Sprintf(
			"journal files were removed before they could be read, with up to %d records of all kinds", lost))
	}
	return err
}

// countWithin bounds how long records are counted, in which nothing is read. What was not counted then counts as gone.
const countWithin = 2 * time.Second

// countRecords is a counter.
func countRecords(dir string, s span) (n, highest uint64, err error) {
	h, err := openJournal(dir)
	if err != nil {
		return 0, 0, err
	}
	defer h.Close()
	if err := h.SeekCursor(fmt.Sprintf("s=%s;i=%x", s.sequence, s.first)); err != nil {
		return 0, 0, err
	}
	for begun := time.Now(); time.Since(begun) < countWithin; {
		if more, err := h.Next(); err != nil || more == 0 {
			return n, highest, err
		}
		at, err := h.GetCursor()
		if err != nil {
			return n, highest, err
		}
		switch c := parseCursor(at); {
		case c.sequence != s.sequence || c.seq < s.first: // of another directory
		case c.seq > s.last:
			return n, highest, nil
		default:
			n, highest = n+1, c.seq
		}
	}
	return n, highest, nil
}
