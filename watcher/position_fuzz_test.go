package watcher

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
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

// FuzzSyslogPosition: whatever position is saved, the file is read from a place in it, and each of its lines at most
// once.
func FuzzSyslogPosition(f *testing.F) {
	for _, seed := range positionSeeds {
		f.Add([]byte(seed))
	}
	path := filepath.Join(f.TempDir(), "kern.log")
	text := strings.Repeat("Mar  1 10:00:30 hv042 kernel: "+plainMessage+"\n", 5)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if data == nil {
			return // the first start ever
		}
		s, err := NewSyslog(SyslogConfig{Path: path, Host: "hv042", Position: data})
		if err != nil {
			return
		}
		out := make(chan Batch, 16)
		s.send = newSender(out, time.Now, remediate.SourceSyslog, path)
		s.buf = make([]byte, markSize+blockSize)
		err = s.open()
		defer s.closeAll()
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		for _, file := range s.files {
			if file.off < 0 || file.off > int64(len(text)) {
				t.Fatalf("%q: at %d of %d bytes", data, file.off, len(text))
			}
			if err := s.readFile(t.Context(), file); err != nil {
				t.Fatalf("%q: %v", data, err)
			}
		}
		if n := len(s.send.batch.Matches); n > 5 {
			t.Fatalf("%q: %d matches in 5 lines", data, n)
		}
	})
}
