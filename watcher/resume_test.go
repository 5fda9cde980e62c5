package watcher

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// rotationNames say what the i-th file back from the live one is called, packing apart, of at most nine.
var rotationNames = map[string]func(i int) string{
	"numbers":             func(i int) string { return fmt.Sprintf("kern.log.%d", i) },
	"dates":               func(i int) string { return fmt.Sprintf("kern.log-202603%02d", 10-i) },
	"dates with dashes":   func(i int) string { return fmt.Sprintf("kern.log.2026-03-%02d", 10-i) },
	"dates and times":     func(i int) string { return fmt.Sprintf("kern.log-20260310-%02d0000", 10-i) },
	"seconds":             func(i int) string { return fmt.Sprintf("kern.log-17723232%02d", 10-i) },
	"numbers, extension":  func(i int) string { return fmt.Sprintf("kern.%d.log", i) },
	"dates, extension":    func(i int) string { return fmt.Sprintf("kern-202603%02d.log", 10-i) },
	"one day, numbers up": dayAndNumber,
}

// dayAndNumber is the name where a second rotation in a day gets a number.
func dayAndNumber(i int) string {
	if i == 9 {
		return "kern.log-20260310"
	}
	return fmt.Sprintf("kern.log-20260310-%d", 15-i)
}

// rotated is a case of TestPromiseResumeRotated.
type rotated struct {
	names, ext string
	// plain is how many of the newest are not packed: 1 is delaycompress.
	plain int
	// scrambled says that the times of the last changes tell nothing.
	scrambled bool
}

func (r rotated) String() string {
	return fmt.Sprintf("%s,%s,%d plain,scrambled=%v", r.names, r.ext, r.plain, r.scrambled)
}

// TestPromiseResumeRotated stops in the middle of a file, rotates it away ten times in every manner of naming and
// packing, and goes on.
func TestPromiseResumeRotated(t *testing.T) {
	var cases []rotated
	for ext := range packCommands {
		cases = append(cases, rotated{"numbers", ext, 0, false}, rotated{"numbers", ext, 1, true})
	}
	for names := range rotationNames {
		cases = append(cases, rotated{names, ".gz", 1, true}, rotated{names, "", 9, true})
	}
	lines, lost, twice := 0, 0, 0
	for _, c := range cases {
		t.Run(c.String(), func(t *testing.T) {
			l := testResumeRotated(t, c)
			lines, lost, twice = lines+l.n, lost+l.missing(), twice+l.twice()
		})
	}
	testhost.Held(t, "1.1 files, rotated and packed", "lost %d, twice %d of %d lines in %d chains of 9 rotations",
		lost, twice, lines, len(cases))
}

func testResumeRotated(t *testing.T, c rotated) *numbered {
	l := newNumbered(t)
	name := func(i int) string { return filepath.Join(filepath.Dir(l.path), rotationNames[c.names](i)) }
	l.add(3000) // more than a block
	l.start()
	l.untilCaughtUp()
	l.stop()
	l.add(3000)
	for i := 9; i > 0; i-- {
		mustRename(t, l.path, name(i))
		l.add(50)
	}
	for i := 9; i > c.plain; i-- {
		pack(t, name(i), c.ext)
	}
	if c.scrambled {
		files, err := filepath.Glob(filepath.Join(filepath.Dir(l.path), "*"))
		if err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-time.Hour)
		for _, file := range files {
			if err := os.Chtimes(file, then, then); err != nil {
				t.Fatal(err)
			}
		}
	}
	l.start()
	l.untilCaughtUp()
	l.add(1)
	l.untilLine(l.n)
	l.stop()
	l.wantAll()
	if l.lost > 0 || l.lostText != "" {
		t.Errorf("said to be lost: %d %s", l.lost, l.lostText)
	}
	return l
}

// TestPromiseResumeInPacked stops while a packed file is read, again and again, and packs its successors meanwhile.
func TestPromiseResumeInPacked(t *testing.T) {
	l := newNumbered(t)
	l.add(1)
	l.start()
	l.untilCaughtUp()
	l.stop()
	l.add(20000)
	l.rename(".2")
	pack(t, l.path+".2", ".gz")
	l.add(20000)
	l.rename(".1")
	l.add(20000)
	stops := 0
	for step := 7000; l.got[len(l.got)-1] < l.n; stops++ {
		if stops == 4 {
			pack(t, l.path+".1", ".xz")
		}
		l.start()
		l.untilLine(min(l.got[len(l.got)-1]+step, l.n))
		l.stop()
	}
	l.wantAll()
	testhost.Held(t, "1.2 stopped inside packed files", "lost %d, twice %d of %d lines in %d stops",
		l.missing(), l.twice(), l.n, stops)
}

// TestPromiseResumeDamaged resumes through packed files that are damaged: it says so, and reads the others.
func TestPromiseResumeDamaged(t *testing.T) {
	const part = 2000
	tests := []struct {
		name   string
		damage func(l *numbered) // kern.log.2.gz to kern.log.4.gz are packed, the position is in .4
		gone   [2]int            // lines that may be missing, from and to
		lost   bool
	}{
		{"the file of the position is cut off before it", func(l *numbered) { cutOff(l.t, l.path+".4.gz", 4) }, [2]int{part + 1, 2 * part}, true},
		{"the file of the position is cut off behind it", func(l *numbered) { cutOff(l.t, l.path+".4.gz", 1) }, [2]int{part + 1, 2 * part}, true},
		{"one between is cut off", func(l *numbered) { cutOff(l.t, l.path+".3.gz", 2) }, [2]int{2*part + 1, 3 * part}, true},
		{"one between is no such file", func(l *numbered) { l.put(".3.gz", "\x1f\x8b\x08\x00nothing of the kind") }, [2]int{2*part + 1, 3 * part}, true},
		{"one between is empty", func(l *numbered) { l.put(".3.gz", "") }, [2]int{2*part + 1, 3 * part}, true},
		{"one is being packed", func(l *numbered) { l.put(".1.gz", "\x1f\x8b\x08") }, [2]int{}, false},
		{"one is packed and its plain file still there", func(l *numbered) {
			text, err := os.ReadFile(l.path + ".1")
			if err != nil {
				l.t.Fatal(err)
			}
			l.put(".1.gz", string(packers["gz"](l.t, text)[:len(text)/40]))
		}, [2]int{}, false},
		{"another of that number is packed", func(l *numbered) {
			mustRename(l.t, l.path+".2.gz", l.path+".1.gz")
		}, [2]int{}, false},
		{"the file of the position is gone", func(l *numbered) {
			if err := os.Remove(l.path + ".4.gz"); err != nil {
				l.t.Fatal(err)
			}
		}, [2]int{part + 1, 2 * part}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newNumbered(t)
			l.add(part)
			l.start()
			l.untilCaughtUp()
			l.stop()
			for i := 4; i > 0; i-- {
				l.add(part)
				l.rename(fmt.Sprintf(".%d", i))
				if i > 1 {
					pack(t, fmt.Sprintf("%s.%d", l.path, i), ".gz")
				}
			}
			l.add(1)
			tt.damage(l)
			l.start()
			l.untilCaughtUp()
			l.stop()
			var gone []int
			for n := tt.gone[0]; n > 0 && n <= tt.gone[1]; n++ {
				gone = append(gone, n)
			}
			l.wantAll(gone...)
			if said := l.lost > 0 && l.lostText != ""; said != tt.lost {
				t.Errorf("said to be lost: %d %q; want that: %v", l.lost, l.lostText, tt.lost)
			}
		})
	}
	testhost.Held(t, "1.3 damaged packed files", "all other lines delivered once in %d cases", len(tests))
}

// put writes a file beside the log.
func (l *logged) put(suffix, text string) {
	l.t.Helper()
	if err := os.WriteFile(l.path+suffix, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// cutOff leaves the first part of a file, so many eighths.
func cutOff(t *testing.T, path string, eighths int64) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	size := info.Size() * (8 - eighths) / 8
	if eighths == 4 {
		size = info.Size() / 4
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

// TestPromiseResumeMemory finds a position far back in a large packed file.
func TestPromiseResumeMemory(t *testing.T) {
	l := newNumbered(t)
	filler := strings.Repeat(strings.Repeat("x", 127)+"\n", 8<<10) // 1 MiB
	for range 64 {
		l.write(filler)
	}
	l.add(1)
	l.start()
	l.untilCaughtUp()
	l.stop()
	l.add(1000)
	text, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(l.path + ".1.gz")
	if err != nil {
		t.Fatal(err)
	}
	w, err := gzip.NewWriterLevel(file, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	size := len(text) >> 20
	text = nil
	if err := os.Remove(l.path); err != nil {
		t.Fatal(err)
	}
	l.add(1)
	peak := heapPeak(t, func() {
		l.start()
		l.untilCaughtUp()
	})
	l.wantAll()
	if peak > hostileHeap {
		t.Errorf("the heap grew by %d MiB", peak>>20)
	}
	testhost.Held(t, "1.4 memory for packed files", "the heap grew by at most %d KiB to go on behind %d MiB in a packed file", peak>>10, size)
}

// heapPeak is by how much the heap was larger at most while do ran than before, in bytes, looked at while it runs. Little
// of it is garbage.
func heapPeak(t *testing.T, do func()) uint64 {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	end, peak := make(chan struct{}), make(chan uint64)
	go func() {
		most := uint64(0)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
			select {
			case <-end:
				peak <- most - min(most, before.HeapAlloc)
				return
			case <-tick.C:
			}
		}
	}()
	do()
	close(end)
	return <-peak
}
