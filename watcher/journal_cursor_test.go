//go:build linux && cgo

package watcher

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestParseCursor(t *testing.T) {
	tests := []struct {
		name, text string
		want       cursor
	}{
		{"whole", "s=383afa570e5e428ca24176f67953e8e5;i=341;b=b89823ec08074a299f778d6a2b5f1efb;m=2ef82190;t=6614f1799685a;x=c25fa817d4469825",
			cursor{"383afa570e5e428ca24176f67953e8e5", 0x341, "b89823ec08074a299f778d6a2b5f1efb", 0x2ef82190 * time.Microsecond,
				time.UnixMicro(0x6614f1799685a)}},
		{"in part", "i=a;s=b", cursor{sequence: "b", seq: 10}},
		{"numbers that are none", "s=;i=x;m=;t=-1", cursor{}},
		{"empty", "", cursor{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := parseCursor(tt.text); got != tt.want {
				t.Errorf("parseCursor = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestMissedRecords(t *testing.T) {
	tests := []struct {
		text string
		n    uint64
		ok   bool
	}{
		{"Missed 42 kernel messages", 42, true},
		{"Missed x kernel messages", 0, false},
		{"Missed 42 kernel messages.", 0, false},
		{"missed", 0, false},
		{"", 0, false},
	}
	for _, tt := range tests {
		if n, ok := missedRecords([]byte(tt.text)); ok != tt.ok || ok && n != tt.n {
			t.Errorf("missedRecords(%q) = %d, %v", tt.text, n, ok)
		}
	}
}

// TestJournalHeader reads headers of what may lie where a journal file should.
func TestJournalHeader(t *testing.T) {
	whole := append([]byte("LPKSHHRH"), bytes.Repeat([]byte{0}, 264)...)
	whole[72], whole[160], whole[168] = 0xab, 9, 3
	tests := []struct {
		name string
		data []byte
		want journalHeader
	}{
		{"whole", whole, journalHeader{sequence: "ab000000000000000000000000000000", first: 3, last: 9}},
		{"cut off", whole[:170], journalHeader{}},
		{"zeros, as of a file that was vacuumed", make([]byte, 4096), journalHeader{}},
		{"empty", nil, journalHeader{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "system.journal")
			if err := os.WriteFile(path, tt.data, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if got := readHeader(f); got != tt.want {
				t.Errorf("readHeader = %+v, want %+v", got, tt.want)
			}
		})
	}
}
