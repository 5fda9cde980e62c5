//go:build linux && cgo

package watcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/sdjournal"
	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// journalWait is how long one wait for journald takes at most. Journald tells of new records up to a quarter of a
	// second late, but they can be read before: so they are looked for at the end of each wait, whatever woke it.
	journalWait = 100 * time.Millisecond
	// journalReopen is how often the journal is opened anew while nothing comes. It finds directories that libsystemd
	// does not watch (/var/log/journal, when it is made after the boot), and lets the position follow the journal's
	// end, so that it is not vacuumed away under a host whose kernel says nothing.
	journalReopen = time.Minute
)

// Journal reads the kernel's records from systemd-journald.
//
// It asks for _TRANSPORT=kernel, which journald itself sets, and SYSLOG_FACILITY=0, which the kernel denies to what
// processes write into /dev/kmsg; the tag "kernel" alone could be anybody's.
type Journal struct {
	cfg    JournalConfig
	cursor string // the last record that was read, or passed at the journal's end; "": none
	host   string // as compared; "": any
	send   *sender
}

// journalPosition is the saved form of the position.
type journalPosition struct {
	Cursor string `json:"cursor"`
}

// NewJournal checks the configuration. It fails where the position is not one of its own.
func NewJournal(cfg JournalConfig) (*Journal, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	j := &Journal{cfg: cfg}
	if cfg.Directory != "" && cfg.Host != "*" {
		j.host = remediate.HostLabel(cfg.Host)
	}
	if cfg.Position != nil {
		var p journalPosition
		if err := json.Unmarshal(cfg.Position, &p); err != nil {
			return nil, fmt.Errorf("read saved position of the journal: %w", err)
		}
		j.cursor = p.Cursor
	}
	return j, nil
}

// Run reads until ctx is done. It fails only where the journal is Required and cannot be read at first.
func (j *Journal) Run(ctx context.Context, out chan<- Batch) error {
	j.send = newSender(out, j.cfg.Now, remediate.SourceJournal, j.cfg.Directory)
	// check is whether a cursor that is not found any more means a loss: not where all was read just before.
	check := true
	for first := true; ; first = false {
		err := j.session(ctx, check)
		if ctx.Err() != nil {
			return nil
		}
		if check = err != nil; !check {
			continue
		}
		if first && j.cfg.Required {
			return journalProblem(err).failure(err)
		}
		j.send.setState(journalProblem(err))
		j.send.caughtUp()
		if j.send.flush(ctx) != nil || sleep(ctx, retryEvery) != nil {
			return nil
		}
	}
}

// session opens the journal, and reads it for a while or until it fails.
func (j *Journal) session(ctx context.Context, check bool) error {
	h, err := openJournal(j.cfg.Directory)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := wait(h, 0); err != nil { // from here on libsystemd watches for new files
		return err
	}
	j.send.up()
	end, err := tailCursor(h)
	if err != nil {
		return err
	}
	if check && j.cursor != "" {
		if err := j.checkGap(h); err != nil {
			return err
		}
	}
	if err := j.seek(h, end); err != nil {
		return err
	}
	read, err := j.drain(ctx, h)
	if err != nil {
		return err
	}
	if read == 0 && end != "" {
		// All up to here holds nothing for us, and was looked at after end was taken.
		j.moved(end)
	}
	j.send.caughtUp()
	return j.live(ctx, h)
}

// openJournal opens the journal without matches. It fails where nothing could be read from it.
func openJournal(dir string) (h *sdjournal.Journal, err error) {
	if err := checkJournal(dir); err != nil {
		return nil, err
	}
	if dir == "" {
		h, err = sdjournal.NewJournal()
	} else {
		h, err = sdjournal.NewJournalFromDir(dir)
	}
	var errno syscall.Errno // where libsystemd itself answered
	if err != nil && !errors.As(err, &errno) {
		err = fmt.Errorf("%w: %w", errNoLibrary, err)
	}
	return h, err
}

// wait waits for a change of the journal, for d at most. It may return early without one.
func wait(h *sdjournal.Journal, d time.Duration) error {
	if r := h.Wait(d); r < 0 {
		return fmt.Errorf("wait for the journal: %w", syscall.Errno(-r))
	}
	return nil
}

// tailCursor is the cursor of the journal's last record, of whatever kind; "" where it has none.
func tailCursor(h *sdjournal.Journal) (string, error) {
	if err := h.SeekTail(); err != nil {
		return "", err
	}
	n, err := h.Previous()
	if err != nil || n == 0 {
		return "", err
	}
	return h.GetCursor()
}

// checkGap tells whether the record that was read last is still in the journal. libsystemd goes to the next one
// silently where it is not.
func (j *Journal) checkGap(h *sdjournal.Journal) error {
	if err := h.SeekCursor(j.cursor); err != nil {
		return err
	}
	n, err := h.Next()
	if err != nil {
		return err
	}
	if n > 0 {
		switch err := h.TestCursor(j.cursor); {
		case err == nil:
			return nil
		case !errors.Is(err, sdjournal.ErrNoTestCursor):
			return err
		}
	}
	j.send.lost(0, "the journal no longer holds the record that was read last: it was vacuumed or was kept in memory only, "+
		"and records after it may be lost")
	return nil
}

// matchKernel has the handle show the kernel's own records alone.
func matchKernel(h *sdjournal.Journal) error {
	return errors.Join(h.AddMatch("_TRANSPORT=kernel"), h.AddMatch("SYSLOG_FACILITY=0"))
}

// seek goes to where reading begins; end is the journal's last record.
func (j *Journal) seek(h *sdjournal.Journal, end string) error {
	if err := matchKernel(h); err != nil {
		return err
	}
	switch {
	case j.cursor != "":
		return h.SeekCursor(j.cursor)
	case j.cfg.Lookback > 0:
		return h.SeekRealtimeUsec(uint64(j.cfg.Now().Add(-j.cfg.Lookback).UnixMicro()))
	case end != "":
		j.moved(end)
		return h.SeekCursor(end)
	}
	return h.SeekHead()
}

// moved notes that everything up to cursor has been read.
func (j *Journal) moved(cursor string) {
	if cursor == j.cursor {
		return
	}
	j.cursor = cursor
	j.send.position(journalPosition{Cursor: cursor})
}

// live reads what comes, until it is time to open the journal anew or something fails.
func (j *Journal) live(ctx context.Context, h *sdjournal.Journal) error {
	for last := time.Now(); time.Since(last) < journalReopen; {
		if err := j.send.tick(ctx); err != nil {
			return err
		}
		start := time.Now()
		if err := wait(h, journalWait); err != nil {
			return err
		}
		n, err := j.drain(ctx, h)
		if err != nil {
			return err
		}
		if n > 0 {
			last = time.Now()
		} else if time.Since(start) < journalWait/5 { // woken by others' records: not faster than this
			if err := sleep(ctx, journalWait/2); err != nil {
				return err
			}
		}
	}
	return nil
}

// drain reads all that is there and tells how many records that was.
func (j *Journal) drain(ctx context.Context, h *sdjournal.Journal) (read int, err error) {
	for {
		if ctx.Err() != nil {
			return read, ctx.Err()
		}
		n, err := h.Next()
		if err != nil || n == 0 {
			return read, err
		}
		cursor, err := h.GetCursor()
		if err != nil {
			return read, err
		}
		if cursor == j.cursor {
			continue // where reading began
		}
		if err := j.record(h); err != nil {
			return read, err
		}
		j.moved(cursor)
		read++
		if err := j.send.full(ctx); err != nil {
			return read, err
		}
	}
}

// record takes the record that the handle is at.
func (j *Journal) record(h *sdjournal.Journal) error {
	m, usec, err := readRecord(h, j.host, &j.send.batch.Stats)
	if err != nil {
		return err
	}
	j.send.last(time.UnixMicro(int64(usec)))
	if j.send.batch.CaughtUp { // what is old is nobody's to compare with
		if r, ok := kernelRecordOf(h); ok {
			j.send.kernel(r)
		}
	}
	if m != nil {
		m.Path = j.cfg.Directory
		j.send.match(*m)
	}
	return nil
}
