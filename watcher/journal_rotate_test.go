//go:build linux && cgo

package watcher

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// TestPromiseJournalRotates rotates a real journal while it is followed, and vacuums it down to the file that is
// written to whenever all has been read.
func TestPromiseJournalRotates(t *testing.T) {
	d := testhost.StartJournald(t)
	f := follow(t, JournalConfig{Directory: d.Dir, Host: "*"})
	rotations := testhost.Amount(100, 1000)
	var words []string
	vacuumed := 0
	for i := range rotations {
		words = append(words, testhost.KernelRecords(t, 5)...)
		d.Control(t, "--rotate")
		if i%5 == 4 { // up to five files are unread
			f.wait(t, words)
			vacuumed += strings.Count(d.Control(t, "--vacuum-files=1"), "Deleted archived")
		}
	}
	f.wait(t, words)
	f.stop(t)
	lost, twice := f.count(words)
	if lost+twice > 0 || len(f.losses()) > 0 || vacuumed < rotations/2 {
		t.Errorf("lost %d, twice %d of %d; vacuumed %d files; %q", lost, twice, len(words), vacuumed, f.losses())
	}
	testhost.Held(t, "2.7 journald rotate and vacuum while following",
		"lost %d, twice %d of %d kernel records in %d rotations, %d files vacuumed", lost, twice, len(words), rotations, vacuumed)
}

// TestPromiseJournalOvertaken removes files before they are read: what is missing is told of, and what goes on is all
// there.
func TestPromiseJournalOvertaken(t *testing.T) {
	d := testhost.StartJournald(t)
	f := follow(t, JournalConfig{Directory: d.Dir, Host: "*"})
	rounds := testhost.Amount(5, 50)
	gone, lost, told := 0, 0, 0
	var kept []string
	for range rounds {
		before := len(f.losses())
		release := f.hold(t)
		words := testhost.KernelRecords(t, 2)
		d.Written(t, words[1])
		d.Control(t, "--rotate")
		words = append(words, testhost.KernelRecords(t, 2)...) // in a file that the source never opens
		d.Written(t, words[3])
		d.Control(t, "--rotate", "--vacuum-files=1")
		kept = append(kept, testhost.KernelRecords(t, 2)...)
		d.Written(t, kept[len(kept)-1])
		release()
		f.wait(t, kept)
		n, _ := f.count(words)
		gone, lost = gone+len(words), lost+n
		if n > 0 {
			testhost.Eventually(t, "the loss is told of", func() bool { return len(f.losses()) > before })
			told++
		}
	}
	f.stop(t)
	missing, twice := f.count(kept)
	if missing+twice > 0 || lost == 0 || !strings.Contains(f.losses()[0], "removed before they could be read") {
		t.Errorf("lost %d of %d that were removed; of those behind lost %d, twice %d of %d; %q",
			lost, gone, missing, twice, len(kept), f.losses())
	}
	testhost.Held(t, "2.8 journal files removed before they are read",
		"%d of %d records lost, told of %d times in %d rounds; of %d records behind lost %d, twice %d",
		lost, gone, told, rounds, len(kept), missing, twice)
}

// numbers are the sequence numbers of the record that was read last and of the first one that the journal still has
// behind it.
func numbers(t *testing.T, dir string, position []byte) (read, next uint64) {
	t.Helper()
	var p journalPosition
	if err := json.Unmarshal(position, &p); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("journalctl", "-D", dir, "-q", "-o", "export", "-n", "1", "--cursor="+p.Cursor).Output()
	if err != nil {
		t.Fatal(err)
	}
	at, _, _ := strings.Cut(strings.TrimPrefix(string(out), "__CURSOR="), "\n")
	if parseCursor(at).sequence != parseCursor(p.Cursor).sequence {
		t.Fatalf("cursor %s, then %s", p.Cursor, at)
	}
	return parseCursor(p.Cursor).seq, parseCursor(at).seq
}

// TestPromiseJournalStopped rotates and vacuums while nobody follows.
func TestPromiseJournalStopped(t *testing.T) {
	tests := []struct {
		name string
		// unread is the number of records that come before meanwhile is done, and are of a file that may be vacuumed.
		unread    int
		meanwhile []string
		vacuumed  bool
	}{
		{"nothing", 3, nil, false},
		{"rotated", 3, []string{"--rotate"}, false},
		{"only older files vacuumed", 3, []string{"--vacuum-files=1"}, false},
		{"vacuumed, all of it had been read", 0, []string{"--rotate", "--vacuum-files=1"}, true},
		{"vacuumed with records unread", 3, []string{"--rotate", "--vacuum-files=1"}, true},
	}
	d := testhost.StartJournald(t)
	cfg := JournalConfig{Directory: d.Dir, Host: "*"}
	wrong, records := 0, 0
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d.Control(t, "--rotate") // there is an older file
			f := follow(t, cfg)
			f.wait(t, testhost.KernelRecords(t, 3))
			cfg.Position = f.stop(t).Position.Data
			unread := testhost.KernelRecords(t, tt.unread)
			if tt.unread > 0 {
				d.Written(t, unread[tt.unread-1])
			}
			if tt.meanwhile != nil {
				d.Control(t, tt.meanwhile...)
			}
			after := testhost.KernelRecords(t, 3)
			d.Written(t, after[2])
			read, next := numbers(t, d.Dir, cfg.Position)
			f = follow(t, cfg)
			f.wait(t, after)
			cfg.Position = f.stop(t).Position.Data

			told := strings.Join(f.losses(), "; ")
			lost, twice := f.count(append(unread, after...))
			gap := tt.vacuumed && next > read+1
			text := fmt.Sprintf("of the %d records of all kinds", next-read-1)
			if (lost > 0) != (tt.vacuumed && tt.unread > 0) || twice > 0 || gap != strings.Contains(told, text) ||
				!gap && told != "" {
				wrong++
				t.Errorf("lost %d, twice %d; read to %d, next %d; %q", lost, twice, read, next, told)
			}
			records += len(unread) + len(after)
		})
	}
	testhost.Held(t, "2.9 journald rotate and vacuum while stopped",
		"%d of %d cases wrong, %d kernel records; a vacuumed gap is told of with its size, one that was read is not",
		wrong, len(tests), records)
}
