//go:build linux && cgo

package watcher

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLetGo maps a file as libsystemd does: its pages leave the process, and are there again when it looks.
func TestLetGo(t *testing.T) {
	const size = 1 << 20
	path := filepath.Join(t.TempDir(), "system.journal")
	if err := os.WriteFile(path, bytes.Repeat([]byte{7}, size), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	text, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Munmap(text); err != nil {
			t.Error(err)
		}
	}()
	for range 2 {
		if n := bytes.Count(text, []byte{7}); n != size {
			t.Fatalf("%d bytes of the file, want %d", n, size)
		}
		if kb := residentOf(t, path); kb != "1024" {
			t.Fatalf("%s kB are resident after they were read", kb)
		}
		if err := letGo(); err != nil {
			t.Fatal(err)
		}
		if kb := residentOf(t, path); kb != "0" {
			t.Errorf("%s kB stay resident", kb)
		}
	}
}

// residentOf is how much of a mapped file is in this process, in kB.
func residentOf(t *testing.T, path string) string {
	t.Helper()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(smaps), path)
	_, after, rss := strings.Cut(after, "Rss:")
	if !found || !rss {
		t.Fatalf("%s is not mapped", path)
	}
	return strings.Fields(after)[0]
}

func TestJournalMapping(t *testing.T) {
	for line, want := range map[string][2]uintptr{
		"7f01-7f02 r--s 00000000 00:1b 12                 /run/log/journal/a/system.journal":         {0x7f01, 0x7f02},
		"7f01-7f02 r--s 00000000 00:1b 12                 /var/log/a b/user-1000.journal~ (deleted)": {0x7f01, 0x7f02},
		"7f01-7f02 rw-s 00000000 00:1b 12                 /run/log/journal/a/system.journal":         {},
		"7f01-7f02 r--p 00000000 00:1b 12                 /run/log/journal/a/system.journal":         {},
		"7f01-7f02 r--s 00000000 00:1b 12                 /var/lib/ctwarden/state.db":                {},
		"7f01-7f02 rw-p 00000000 00:00 0": {},
		"7f02-7f01 r--s 00000000 00:1b 12                 /run/log/journal/a/system.journal": {},
		"x r--s 00000000 00:1b 12                 /run/log/journal/a/system.journal":         {},
	} {
		from, to, ok := journalMapping(line)
		if wanted := want != [2]uintptr{}; ok != wanted || ok && (from != want[0] || to != want[1]) {
			t.Errorf("%s: %#x, %#x, %v", line, from, to, ok)
		}
	}
}
