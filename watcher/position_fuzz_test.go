package watcher

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var positionSeeds = []string{
	`{"boot_id":"b1","seq":364}`, `{"boot_id":"b1","seq":18446744073709551615}`, `{"boot_id":"","seq":-1}`,
	`{"cursor":"s=1;i=2;b=3;m=4;t=5;x=6"}`, `{"cursor":"\u0000"}`,
	`{"dev":1,"ino":2,"offset":10,"print":"x","next":{"dev":1,"ino":3}}`, `{"offset":-1}`, `{"offset":9223372036854775807}`,
	`{"ino":1,"offset":5,"skip":true}`, `null`, `[]`, `{}`, `{`, "",
}

// FuzzKmsgPosition: a saved position resumes at the record behind it, or is refused.
func FuzzKmsgPosition(f *testing.F) {
	for _, seed := range positionSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if data == nil {
			return // the first start ever
		}
		k, err := NewKmsg(KmsgConfig{BootID: "b1", Position: data})
		if err != nil {
			return
		}
		var p kmsgPosition
		if err := json.Unmarshal(data, &p); err != nil {
			t.Fatalf("%q was taken, and is none: %v", data, err)
		}
		if want := p.Seq + 1; !k.resumed || k.since != 0 || p.BootID == "b1" && k.next != want || p.BootID != "b1" && k.next != 0 {
			t.Fatalf("%q resumes at %d", data, k.next)
		}
	})
}

// FuzzJournalPosition: a saved cursor comes back as it was, or is refused.
func FuzzJournalPosition(f *testing.F) {
	for _, seed := range positionSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var p struct {
			Cursor string `json:"cursor"`
		}
		understood := json.Unmarshal(data, &p) == nil
		if _, err := NewJournal(JournalConfig{Position: data}); data != nil && (err == nil) != understood {
			t.Fatalf("%q: %v", data, err)
		}
	})
}

// FuzzSyslogPosition: whatever position is saved, the file is read, and each of its lines at most once.
func FuzzSyslogPosition(f *testing.F) {
	for _, seed := range positionSeeds {
		f.Add([]byte(seed))
	}
	path := filepath.Join(f.TempDir(), "kern.log")
	const lines = 5
	text := strings.Repeat("Mar  1 10:00:30 hv042 kernel: "+plainMessage+"\n", lines)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if data == nil {
			return // the first start ever
		}
		s, err := NewSyslog(SyslogConfig{Path: path, Host: "hv042", Position: data, Required: true})
		if err != nil {
			return
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		out, ended := make(chan Batch), make(chan error, 1)
		go func() { ended <- s.Run(ctx, out) }()
		for matches := 0; ; {
			select {
			case b := <-out:
				if matches += len(b.Matches); matches > lines {
					t.Fatalf("%q: %d matches in %d lines", data, matches, lines)
				}
				if b.CaughtUp {
					cancel()
				}
			case err := <-ended:
				if err != nil {
					t.Fatalf("%q: %v", data, err)
				}
				return
			}
		}
	})
}
