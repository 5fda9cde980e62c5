package watcher

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"testing"
	"time"
)

var kmsgHead = regexp.MustCompile(`^\d+,\d+,\d+,[^;]*;`)

// FuzzParseKmsg gives the parser what no kernel writes.
func FuzzParseKmsg(f *testing.F) {
	for _, seed := range []string{
		"4,364,477193481,-;" + plainMessage + "\n", "4,1,2,c,caller=T99;" + plainMessage + "\n SUBSYSTEM=net\n DEVICE=n1\n",
		"12,1,2,-;" + plainMessage + "\n", "4,1,18446744073709551615,-;" + plainMessage, "4,1,2;" + plainMessage,
		`4,1,2,-;a\x5cb table full` + "\n", `4,1,2,-;nf_conntrack: table full\x`, ";", "4,-1,2,-;x", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, rec []byte) {
		r, ok := parseKmsg(rec)
		if !ok {
			return
		}
		if !kmsgHead.Match(rec) {
			t.Fatalf("parseKmsg(%q) = %+v, which is no record", rec, r)
		}
		if r.mono < 0 || r.mayMatch != (r.text != nil) || len(r.text) > len(rec) {
			t.Fatalf("parseKmsg(%q) = %+v", rec, r)
		}
	})
}

// FuzzKmsgRoundTrip writes a record as the kernel does (printk's msg_add_ext_text and msg_print_ext_body) and reads it.
func FuzzKmsgRoundTrip(f *testing.F) {
	f.Add(uint8(4), uint64(364), uint64(477193481), []byte(plainMessage), "SUBSYSTEM=net")
	f.Add(uint8(255), uint64(math.MaxUint64), uint64(1), []byte("a\\\n\x00\xff;,"), "")
	f.Fuzz(func(t *testing.T, prio uint8, seq, usec uint64, text []byte, more string) {
		usec %= math.MaxInt64 / 1000
		text = append(text, phraseFull...) // or the text is not looked at
		rec := fmt.Appendf(nil, "%d,%d,%d,-;%s\n %s\n", prio, seq, usec, escapeKmsg(text), escapeKmsg([]byte(more)))
		r, ok := parseKmsg(rec)
		if !ok || r.facility != uint64(prio>>3) || r.seq != seq || r.mono != time.Duration(usec)*time.Microsecond ||
			!bytes.Equal(r.text, text) {
			t.Fatalf("%q became %+v, %t", rec, r, ok)
		}
	})
}

// escapeKmsg is the kernel's own rule for what is not printable, and for the backslash.
func escapeKmsg(text []byte) []byte {
	var out []byte
	for _, c := range text {
		if c < ' ' || c >= 127 || c == '\\' {
			out = fmt.Appendf(out, `\x%02x`, c)
		} else {
			out = append(out, c)
		}
	}
	return out
}
