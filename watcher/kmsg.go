package watcher

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// kmsgBuffer holds the longest record that the kernel hands out (CONSOLE_EXT_LOG_MAX, 8 KiB, before 6.x; 2 KiB
	// after). With a smaller buffer read fails with EINVAL.
	kmsgBuffer = 16 << 10
	// retryEvery is how often a source that is not there is looked for.
	retryEvery = 2 * time.Second
)

// KmsgConfig says how to read the kernel's ring buffer.
type KmsgConfig struct {
	// Path is the device. Empty: /dev/kmsg.
	Path string
	// BootID is this boot's, 32 hex digits. Empty: it is read from /proc.
	BootID string
	// Position is Batch.Position.Data as last saved. Nil: the first start ever.
	Position []byte
	// Lookback is how old the records may be that the first start ever reads. Zero: only what comes from now on.
	Lookback time.Duration
	// Required makes Run fail where the device cannot be opened; otherwise it says so and goes on trying.
	Required bool
	// Beat is how often it sends a batch at least, and how often it looks all the same where nothing was told of. Zero:
	// BeatEvery.
	Beat time.Duration
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// Log may be nil.
	Log *zap.Logger
}

// Kmsg reads /dev/kmsg.
//
// It believes facility 0 alone: that is the kernel itself, since the kernel turns the facility of what a process
// writes into the device to 1 (devkmsg_write in kernel/printk/printk.c).
type Kmsg struct {
	cfg  KmsgConfig
	next uint64 // sequence number of the next record wanted
	// resumed is true where next is known from an earlier run or the device was opened before: a first record
	// beyond it means a loss.
	resumed bool
	since   time.Duration // on the first start ever: records older than this, since boot, are dropped
	live    bool          // the end was reached once, so a record is read when it is printed
	send    *sender
	wrap    func(kmsgReader) kmsgReader // where tests come between it and the device; else nil
}

// kmsgPosition is the saved form of the position: the last record read, in that boot.
type kmsgPosition struct {
	BootID string `json:"boot_id"`
	Seq    uint64 `json:"seq"`
}

// NewKmsg checks the configuration. It fails where the boot ID cannot be read or the position is not one of its own.
func NewKmsg(cfg KmsgConfig) (*Kmsg, error) {
	if cfg.Path == "" {
		cfg.Path = "/dev/kmsg"
	}
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
	k := &Kmsg{cfg: cfg}
	return k, k.resume()
}

// BootID reads this boot's ID, 32 hex digits without dashes, as it stands in the journal.
func BootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot ID: %w", err)
	}
	return strings.ReplaceAll(strings.TrimSpace(string(id)), "-", ""), nil
}

// resume works out where to begin: behind the saved record; at the ring's start if that was in another boot, since
// the whole ring is new then; and at the first start ever, at the first record that is not older than Lookback.
func (k *Kmsg) resume() error {
	if k.cfg.Position == nil {
		k.since = max(1, sinceBoot()-k.cfg.Lookback)
		return nil
	}
	var p kmsgPosition
	if err := json.Unmarshal(k.cfg.Position, &p); err != nil {
		return fmt.Errorf("read saved position of %s: %w", k.cfg.Path, err)
	}
	if p.BootID == k.cfg.BootID {
		k.next, k.resumed = p.Seq+1, true
	} else {
		k.resumed = true // the ring begins with record 0
	}
	return nil
}

// sinceBoot is the time on printk's clock. printk stamps records with local_clock(), which like CLOCK_MONOTONIC stands
// still while the machine is suspended; CLOCK_BOOTTIME does not.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0 // not on Linux: the clock always exists
	}
	return time.Duration(ts.Nano())
}

// Run reads until ctx is done. It fails only where the device is Required and cannot be opened.
func (k *Kmsg) Run(ctx context.Context, out chan<- Batch) error {
	k.send = newSender(out, k.cfg.Now, remediate.SourceKmsg, "")
	k.send.beat = cmp.Or(k.cfg.Beat, BeatEvery)
	for first := true; ; first = false {
		err := k.open(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if first && k.cfg.Required {
			return kmsgProblem(k.cfg.Path, err).failure(err)
		}
		k.send.setState(kmsgProblem(k.cfg.Path, err))
		k.send.caughtUp()
		if k.send.flush(ctx) != nil || sleep(ctx, untilLook(retryEvery)) != nil {
			return nil
		}
	}
}

// kmsgReader is what follow needs of the device.
type kmsgReader interface {
	read(ctx context.Context, buf []byte, wait time.Duration) (int, error)
}

// follow reads records until ctx is done or the device fails.
func (k *Kmsg) follow(ctx context.Context, dev kmsgReader) error {
	buf := make([]byte, kmsgBuffer)
	wait := time.Duration(0)
	for {
		n, err := dev.read(ctx, buf, wait)
		wait = 0
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			k.record(buf[:n])
			err = k.send.full(ctx)
		case errors.Is(err, unix.EAGAIN), errors.Is(err, os.ErrDeadlineExceeded):
			if k.since > 0 && k.next > 0 {
				k.moved(k.next - 1)
			}
			k.live, k.since = true, 0
			k.send.caughtUp()
			err = k.send.tick(ctx)
			wait = max(time.Millisecond, k.send.wait(untilLook(k.send.beat)))
		case errors.Is(err, unix.EPIPE): // overrun: the gap shows in the next sequence number
			err = nil
		case errors.Is(err, unix.EINTR):
			err = nil
		default:
			return fmt.Errorf("read %s: %w", k.cfg.Path, err)
		}
		if err != nil {
			return err
		}
	}
}

// record takes one record from the device.
func (k *Kmsg) record(rec []byte) {
	s := k.send
	r, ok := parseKmsg(rec)
	if !ok || (k.resumed && r.seq < k.next) {
		return
	}
	var gap uint64
	if k.resumed && r.seq > k.next {
		gap = r.seq - k.next
	}
	k.next, k.resumed = r.seq+1, true
	if r.mono < k.since {
		// What is overrun before a record that is passed over would have been passed over too. There is no position
		// either: the start after one that ends here would take what follows for new.
		return
	}
	if gap > 0 {
		s.lost(gap, "the kernel's ring buffer was overrun before it could be read")
	}
	k.moved(r.seq)
	s.batch.Stats.Records++
	s.batch.Stats.Bytes += uint64(len(rec))
	when := k.wall(r.mono)
	s.last(when)
	if k.live && r.facility == 0 && !packetLog(rec) {
		s.kernel(KernelRecord{BootID: k.cfg.BootID, Mono: r.mono, Severity: severityOf(rec)})
	}
	if !r.mayMatch {
		return
	}
	if m, ok := k.match(r); ok {
		m.Time = when
		s.match(m)
	}
}

// moved notes that everything up to seq has been read.
func (k *Kmsg) moved(seq uint64) {
	k.send.position(kmsgPosition{BootID: k.cfg.BootID, Seq: seq})
}

// match tells whether the record is the kernel's word that the table is full.
func (k *Kmsg) match(r kmsgRecord) (remediate.Match, bool) {
	form, ok := MatchMessage(r.text)
	if ok && r.facility != 0 {
		k.send.batch.Stats.NotKernel++
		return remediate.Match{}, false
	}
	return remediate.Match{
		Source: remediate.SourceKmsg, Mono: r.mono, BootID: k.cfg.BootID,
		NetNS: form.NetNS, Count: form.Count, Suppressed: form.Suppressed, Text: clip(r.text),
	}, ok
}

// wall is the wall-clock time of a record. One that was read as it was printed is of now: that is exact, where the
// sum of boot time and printk's clock drifts by minutes in a long uptime, since that clock is not disciplined. For
// an older one the sum is all there is; one from before a suspend comes out later than it was, by the time suspended.
func (k *Kmsg) wall(mono time.Duration) time.Time {
	now := k.cfg.Now()
	if k.live {
		return now
	}
	return now.Add(-max(0, sinceBoot()-mono))
}

// clip is the message as it is kept in a Match.
func clip(text []byte) string {
	return strings.ToValidUTF8(string(text[:min(len(text), maxText)]), "\uFFFD")
}
