package watcher

import (
	"bytes"
	"strconv"
	"time"
)

const (
	// BeatEvery is how often a source sends a batch at least, be it empty, unless it is configured otherwise.
	BeatEvery = 10 * time.Second
	// MostKernel is how many of the kernel's records one batch names.
	MostKernel = 64
	// SeverityUnknown is the severity of a record whose envelope has none.
	SeverityUnknown = -1
	// stampWithin is how much of the end of a block of text is searched for the last kernel record.
	stampWithin = 16 << 10
)

// KernelRecord names one record of the kernel's, of any text: the same record has the same name in every source.
type KernelRecord struct {
	BootID string
	// Mono is its time since boot, to the microsecond.
	Mono time.Duration
	// Severity is the syslog severity, from 0 (emergency) to 7 (debug), or SeverityUnknown.
	Severity int
}

// kernel notes a record of the kernel's.
func (s *sender) kernel(r KernelRecord) {
	if k := s.batch.Kernel; len(k) == MostKernel {
		copy(k, k[1:])
		k[len(k)-1] = r
		return
	}
	s.batch.Kernel = append(s.batch.Kernel, r)
}

// packetLog tells whether a record describes a packet, as firewalls have the kernel print it. Syslog daemons often have a
// file of their own for these, so that others rightly lack them.
func packetLog(rec []byte) bool {
	at := bytes.Index(rec, []byte("IN="))
	return at >= 0 && bytes.Contains(rec[at:], []byte(" OUT="))
}

// severityOf is the severity of a record of /dev/kmsg: the last three bits of the number that it begins with.
func severityOf(rec []byte) int {
	head, _, _ := bytes.Cut(rec, []byte{','})
	n, err := strconv.ParseUint(string(head), 10, 64)
	if err != nil {
		return SeverityUnknown
	}
	return int(n & 7)
}

// lastStamp is the time since boot that the last kernel line of a block carries, as in "kernel: [  12.345678] text".
// It is a look at the end of the block alone, and whose line it is is not asked: the receiver knows what the kernel has
// printed.
func lastStamp(lines []byte) (time.Duration, bool) {
	lines = lines[max(0, len(lines)-stampWithin):]
	tag := []byte(" kernel: [")
	at := bytes.LastIndex(lines, tag)
	if at < 0 {
		return 0, false
	}
	stamp, _, ok := bytes.Cut(lines[at+len(tag):], []byte{']'})
	seconds, micros, point := bytes.Cut(bytes.TrimLeft(stamp, " "), []byte{'.'})
	if !ok || !point || len(seconds) > 10 || len(micros) != 6 {
		return 0, false
	}
	s, err := strconv.ParseUint(string(seconds), 10, 33)
	us, err2 := strconv.ParseUint(string(micros), 10, 32)
	if err != nil || err2 != nil {
		return 0, false
	}
	return time.Duration(s)*time.Second + time.Duration(us)*time.Microsecond, true
}
