//go:build linux && cgo

package watcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/sdjournal"

	"github.com/ctwarden/ctwarden/remediate"
)

// ScanJournal reads a journal directory from its beginning to its end, and emits the kernel's messages of the host
// ("*" or "" is any). An empty dir is this machine's own journal. The statistics count the kernel's records alone: the
// journal's index passes over all others. It fails where nothing could be read, where emit fails, and when ctx is done.
func ScanJournal(ctx context.Context, dir, host string, emit func(remediate.Match) error) (Stats, error) {
	var stats Stats
	if host == "*" {
		host = ""
	}
	host = remediate.HostLabel(host)
	h, err := openJournal(dir)
	if err != nil {
		return stats, err
	}
	defer h.Close()
	if err := errors.Join(matchKernel(h), h.SeekHead()); err != nil {
		return stats, fmt.Errorf("read journal in %s: %w", dir, err)
	}
	for {
		n, err := h.Next()
		if err != nil {
			return stats, fmt.Errorf("read journal in %s: %w", dir, err)
		}
		if n == 0 || ctx.Err() != nil {
			return stats, ctx.Err()
		}
		m, _, err := readRecord(h, host, &stats)
		if err != nil {
			stats.lose(1, damaged(err))
		}
		if m == nil {
			continue
		}
		m.Path = dir
		stats.Matches += uint64(m.Count)
		stats.Suppressed += uint64(m.Suppressed)
		if err := emit(*m); err != nil {
			return stats, err
		}
	}
}

// readRecord reads the kernel record that the handle is at and counts it: all but matches, which are the caller's. The
// match is nil where it is none. The time is in microseconds since 1970.
func readRecord(h *sdjournal.Journal, host string, stats *Stats) (*remediate.Match, uint64, error) {
	usec, err := h.GetRealtimeUsec()
	if err != nil {
		return nil, 0, err
	}
	text, err := h.GetDataValueBytes("MESSAGE")
	if err != nil && !errors.Is(err, syscall.ENOENT) {
		return nil, 0, err
	}
	if n, ok := missedRecords(text); ok {
		transport, err := h.GetDataValue("_TRANSPORT")
		if err != nil && !errors.Is(err, syscall.ENOENT) {
			return nil, 0, err
		}
		if transport == "driver" {
			stats.lose(n, missedText)
			return nil, usec, nil
		}
	}
	stats.Records++
	stats.Bytes += uint64(len(text))
	form, ok := MatchMessage(text)
	if !ok {
		return nil, usec, nil
	}
	m := remediate.Match{
		Source: remediate.SourceJournal, Time: time.UnixMicro(int64(usec)),
		NetNS: form.NetNS, Count: form.Count, Suppressed: form.Suppressed, Text: clip(text),
	}
	fields := map[string]string{"SYSLOG_IDENTIFIER": "", "_HOSTNAME": "", "_BOOT_ID": "", "_SOURCE_MONOTONIC_TIMESTAMP": ""}
	for name := range fields {
		v, err := h.GetDataValue(name)
		if err != nil && !errors.Is(err, syscall.ENOENT) {
			return nil, usec, err
		}
		fields[name] = v
	}
	if fields["SYSLOG_IDENTIFIER"] != "kernel" {
		stats.NotKernel++
		return nil, usec, nil
	}
	m.Host, m.BootID = fields["_HOSTNAME"], fields["_BOOT_ID"]
	if host != "" && remediate.HostLabel(m.Host) != host {
		stats.OtherHost++
		return nil, usec, nil
	}
	m.Mono = monoOf(fields["_SOURCE_MONOTONIC_TIMESTAMP"])
	return &m, usec, nil
}

// monoOf reads microseconds since boot; 0: there are none.
func monoOf(field string) time.Duration {
	n, err := strconv.ParseUint(field, 10, 64)
	if err != nil || n > maxMono {
		return 0
	}
	return time.Duration(n) * time.Microsecond
}

// missedText is what is said of records that journald itself lost.
const missedText = "the kernel's ring buffer was overrun before journald could read it"

// missedRecords reads what journald says of the records that it missed: "Missed N kernel messages".
func missedRecords(text []byte) (uint64, bool) {
	number, ok := bytes.CutPrefix(text, []byte("Missed "))
	if !ok {
		return 0, false
	}
	number, ok = bytes.CutSuffix(number, []byte(" kernel messages"))
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(string(number), 10, 64)
	return n, err == nil
}

// damaged is what is said of a record that libsystemd finds and cannot read, as in a file that was cut off. The next one
// may be whole.
func damaged(err error) string { return "a record of the journal cannot be read: " + err.Error() }
