package watcher

import (
	"bytes"
	"math"
	"strconv"
	"time"
)

// kmsgRecord is one record of /dev/kmsg.
type kmsgRecord struct {
	facility uint64
	seq      uint64
	mono     time.Duration
	text     []byte // unescaped; only where mayMatch is true
	mayMatch bool   // the record holds a phrase that makes the text worth looking at
}

// maxMono is the most microseconds since boot that a time.Duration holds: 292 years.
const maxMono = uint64(math.MaxInt64 / time.Microsecond)

// parseKmsg reads "prio,seq,usec,flags[,more];text\n" and leaves out the dictionary lines that may follow, which begin
// with a blank (Documentation/ABI/testing/dev-kmsg).
func parseKmsg(rec []byte) (r kmsgRecord, ok bool) {
	head, text, ok := bytes.Cut(rec, []byte{';'})
	if !ok {
		return r, false
	}
	var fields [3]uint64
	for i := range fields {
		var field []byte
		if field, head, ok = bytes.Cut(head, []byte{','}); !ok {
			return r, false
		}
		n, err := strconv.ParseUint(string(field), 10, 64)
		if err != nil {
			return r, false
		}
		fields[i] = n
	}
	if fields[2] > maxMono {
		return r, false
	}
	r.facility, r.seq, r.mono = fields[0]>>3, fields[1], time.Duration(fields[2])*time.Microsecond
	text, _, _ = bytes.Cut(text, []byte{'\n'})
	if r.mayMatch = HoldsPhrase(text); r.mayMatch {
		r.text = unescapeKmsg(text)
	}
	return r, true
}

// unescapeKmsg undoes the kernel's \xNN for bytes that are not printable and for the backslash.
func unescapeKmsg(text []byte) []byte {
	if !bytes.Contains(text, []byte(`\x`)) {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) && text[i+1] == 'x' {
			if n, err := strconv.ParseUint(string(text[i+2:i+4]), 16, 8); err == nil {
				out = append(out, byte(n))
				i += 3
				continue
			}
		}
		out = append(out, text[i])
	}
	return out
}
