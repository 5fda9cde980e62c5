//go:build linux && cgo

package watcher

import (
	"strconv"
	"strings"
	"time"
)

// cursor is what a journal cursor says of its record ("s=…;i=…;b=…;m=…;t=…;x=…", as sd_journal_get_cursor(3) makes
// it). Every part of it may be missing in one that somebody else wrote.
type cursor struct {
	sequence string // the ID of the run of numbers that seq belongs to: one journald's, until it is started afresh
	seq      uint64 // counts records of every kind
	boot     string
	mono     time.Duration // since that boot, on the clock that stands still while the machine is suspended
	real     time.Time     // by the wall clock of then; zero: unknown
}

func parseCursor(text string) (c cursor) {
	for part := range strings.SplitSeq(text, ";") {
		name, value, _ := strings.Cut(part, "=")
		n, err := strconv.ParseUint(value, 16, 64)
		switch {
		case name == "s":
			c.sequence = value
		case name == "b":
			c.boot = value
		case err != nil:
		case name == "i":
			c.seq = n
		case name == "m":
			c.mono = time.Duration(n) * time.Microsecond
		case name == "t" && n > 0:
			c.real = time.UnixMicro(int64(n))
		}
	}
	return c
}
