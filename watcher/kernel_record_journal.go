//go:build linux && cgo

package watcher

import (
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/sdjournal"
)

// kernelRecordOf names the kernel record that the handle is at. It is false where journald did not write down what it
// takes.
func kernelRecordOf(h *sdjournal.Journal) (KernelRecord, bool) {
	boot, err := h.GetDataValue("_BOOT_ID")
	if err != nil {
		return KernelRecord{}, false
	}
	text, err := h.GetDataValue("_SOURCE_MONOTONIC_TIMESTAMP")
	if err != nil {
		return KernelRecord{}, false
	}
	us, err := strconv.ParseInt(text, 10, 64)
	if err != nil || us < 0 || us > int64(1<<63-1)/1000 {
		return KernelRecord{}, false
	}
	r := KernelRecord{BootID: boot, Mono: time.Duration(us) * time.Microsecond, Severity: SeverityUnknown}
	if text, err = h.GetDataValue("PRIORITY"); err == nil {
		if n, err := strconv.Atoi(text); err == nil && n >= 0 && n <= 7 {
			r.Severity = n
		}
	}
	return r, true
}
