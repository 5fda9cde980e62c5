//go:build linux && cgo

package watcher

import (
	"fmt"
	"regexp"
	"testing"
)

var missed = regexp.MustCompile(`^Missed [0-9]{1,20} kernel messages$`)

// FuzzJournalFields: the two numbers that are read out of a record's fields are what was written there, or nothing.
func FuzzJournalFields(f *testing.F) {
	for _, seed := range []string{
		"477193481", "0", "-1", "9223372036854775807", "18446744073709551615", "1e3", "Missed 17 kernel messages",
		"Missed 18446744073709551616 kernel messages", "Missed -1 kernel messages", "Missed  kernel messages", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		mono := monoOf(field)
		if mono < 0 || mono > 0 && fmt.Sprint(mono.Microseconds()) != trimZeros(field) {
			t.Fatalf("%q became %d", field, mono)
		}
		if n, ok := missedRecords([]byte(field)); ok != (missed.MatchString(field) && inRange(field)) {
			t.Fatalf("%q: %d, %t", field, n, ok)
		}
	})
}

func trimZeros(s string) string {
	for len(s) > 1 && s[0] == '0' {
		s = s[1:]
	}
	return s
}

// inRange tells whether the number in the field fits 64 bits.
func inRange(field string) bool {
	var n uint64
	_, err := fmt.Sscanf(field, "Missed %d kernel", &n)
	return err == nil
}
