//go:build linux && cgo

package watcher

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSurviveTruncationIsForLibsystemdAlone sees that a fault in Go code is Go's as before. That libsystemd outlives
// one is seen by TestPromiseJournalDamaged and TestPromiseJournalRotates.
func TestSurviveTruncationIsForLibsystemdAlone(t *testing.T) {
	surviveTruncation()
	surviveTruncation() // again: nothing more
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 2*os.Getpagesize()), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := unix.Mmap(int(f.Fd()), 0, 2*os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(data) }()
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if _, ok := recover().(runtime.Error); !ok {
			t.Error("a fault in Go code went unnoticed")
		}
	}()
	t.Error("read what is not there: ", data[os.Getpagesize()])
}
