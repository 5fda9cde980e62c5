package watcher

import "testing"

// TestSyslogRotatedBeforeATruncationIsSeen has a file copied, truncated, written to and rotated away, and its successor
// too, between two reads with no look at the directory: what came after the file must not be taken for what was there
// before it.
func TestSyslogRotatedBeforeATruncationIsSeen(t *testing.T) {
	for name, begin := range map[string]func(l *byLook){
		"read in part": func(l *byLook) { l.add(3) },
		"empty":        func(l *byLook) { l.create(".9"); l.add(3) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newByLook(t)
			begin(l)
			l.copyTruncate(".3")
			l.add(2)
			l.rename(".2")
			l.add(4)
			l.rename(".1")
			l.add(5)
			if err := l.s.read(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				l.look()
			}
			l.wantAll()
		})
	}
}
