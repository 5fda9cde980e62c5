//go:build linux && cgo

package watcher

import (
	"cmp"
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
	// current is true while a record is read soon after it was written.
	current bool
	tails   *journalTails
	send    *sender
	touched int                      // records read since the pages that they were in were let go of
	seen    func(*sdjournal.Journal) // where tests look at each record that is read; else nil
}

// journalPosition is the saved form of the position.
type journalPosition struct {
	Cursor string `json:"cursor"`
}

// NewJournal checks the configuration. It fails where the boot ID cannot be read or the position is not one of its own.
func NewJournal(cfg JournalConfig) (*Journal, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.BootID == "" {
		id, err := BootID()
		if err != nil {
			return nil, err
		}
		cfg.BootID = id
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
	j.send.beat = cmp.Or(j.cfg.Beat, BeatEvery)
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
		if j.send.flush(ctx) != nil || sleep(ctx, untilLook(retryEvery)) != nil {
			return nil
		}
	}
}

// session opens the journal, and reads it for a while or until it fails.
func (j *Journal) session(ctx context.Context, check bool) error {
	j.current = false
	h, err := openJournal(j.cfg.Directory)
	if err != nil {
		return err
	}
	defer h.Close()
	if _, err := process(h); err != nil { // from here on libsystemd watches for new files
		return err
	}
	j.tails = openTails(j.cfg.Directory)
	defer j.tails.close()
	j.send.up()
	end, err := tailCursor(h)
	if err != nil {
		return err
	}
	if err := j.find(h, check); err != nil {
		return err
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
	j.current = true
	return j.live(ctx, h)
}

// openJournal opens the journal without matches. It fails where nothing could be read from it.
func openJournal(dir string) (h *sdjournal.Journal, err error) {
	if err := checkJournal(dir); err != nil {
		return nil, err
	}
	surviveTruncation()
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

// process has libsystemd take note of what changed. It tells whether files came or went.
func process(h *sdjournal.Journal) (files bool, err error) {
	r := h.Wait(0)
	if r < 0 {
		return false, fmt.Errorf("wait for the journal: %w", syscall.Errno(-r))
	}
	return r == sdjournal.SD_JOURNAL_INVALIDATE, nil
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

// missedID is the message ID of journald's own word that the kernel's ring buffer was overrun before it could read it
// (SD_MESSAGE_JOURNAL_MISSED in systemd/sd-messages.h).
const missedID = "e9bf28e6e834481bb6f48f548ad13606"

// matchKernel has the handle show the kernel's own records alone, and what journald says of those it missed. Only
// journald itself can log by way of the transport "driver".
func matchKernel(h *sdjournal.Journal) error {
	return errors.Join(
		h.AddMatch("_TRANSPORT=kernel"), h.AddMatch("SYSLOG_FACILITY=0"),
		h.AddDisjunction(),
		h.AddMatch("_TRANSPORT=driver"), h.AddMatch("MESSAGE_ID="+missedID),
	)
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

// record takes the record that the handle is at.
func (j *Journal) record(h *sdjournal.Journal, c cursor) error {
	m, usec, err := readRecord(h, j.host, &j.send.batch.Stats)
	if err != nil {
		return err
	}
	if j.seen != nil {
		j.seen(h)
	}
	when := j.wall(c, time.UnixMicro(int64(usec)))
	j.send.last(when)
	if j.send.batch.CaughtUp { // what is old is nobody's to compare with
		if r, ok := kernelRecordOf(h); ok {
			j.send.kernel(r)
		}
	}
	if m != nil {
		m.Path, m.Time = j.cfg.Directory, when
		j.send.match(*m)
	}
	return nil
}

// wall is the time of a record by this machine's clock of now. Journald's stamp is of the clock as it was: where that
// has been set back since, a record of this moment would be of the past, or one of the past still to come. So for a
// record of this boot the time since it was written counts, which is measured on a clock that nobody sets.
func (j *Journal) wall(c cursor, stamp time.Time) time.Time {
	if c.boot != j.cfg.BootID {
		return stamp
	}
	when := j.cfg.Now().Add(-max(0, sinceBoot()-c.mono))
	if !j.current && stamp.Before(when) {
		return stamp // that clock stands still while the machine is suspended
	}
	return when
}
