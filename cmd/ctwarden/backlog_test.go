package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		w.Close()
	})
	return r, w
}

// wantInOrder wants the lines numbered from 0, each once, up to n.
func wantInOrder(t *testing.T, text string, n int) {
	t.Helper()
	at := 0
	for line := range strings.Lines(text) {
		if strings.Contains(line, "log lines dropped") {
			break
		}
		if want := fmt.Sprintf(`line	{"number": %d}`, at); !strings.Contains(line, want) {
			t.Fatalf("got %q, want %q in it", line, want)
		}
		at++
	}
	if at < n {
		t.Errorf("%d lines, want %d", at, n)
	}
}

func TestLogThatIsReadLosesNothing(t *testing.T) {
	r, w := pipe(t)
	read := make(chan string, 1) // the reader need not wait
	go func() {
		text, _ := io.ReadAll(r)
		read <- string(text)
	}()
	log, flush := newAgentLogger(w, zapcore.InfoLevel)
	const lines = 3000
	for i := range lines {
		log.Info("line", zap.Int("number", i))
	}
	flush()
	w.Close()
	text := <-read
	wantInOrder(t, text, lines)
	if strings.Contains(text, "dropped") {
		t.Error("something was dropped")
	}
}

// TestLogThatNobodyReadsBlocksNobody logs far more than a pipe and the backlog hold before it reads.
func TestLogThatNobodyReadsBlocksNobody(t *testing.T) {
	r, w := pipe(t)
	log, flush := newAgentLogger(w, zapcore.InfoLevel)
	const lines = 20_000
	start := time.Now()
	for i := range lines {
		log.Info("line", zap.Int("number", i))
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("logging took %v", d)
	}
	start = time.Now()
	flush()
	if d := time.Since(start); d < backlogFlush || d > backlogFlush+3*time.Second {
		t.Errorf("flushing took %v, want %v", d, backlogFlush)
	}
	// Somebody reads after all: what was kept comes in order, then how much was not.
	read := make(chan string, 1) // the reader need not wait
	go func() {
		var text strings.Builder
		buf := make([]byte, 4096)
		for !strings.Contains(text.String(), "did not take them") || !strings.HasSuffix(text.String(), "\n") {
			n, err := r.Read(buf)
			text.Write(buf[:n])
			if err != nil {
				break
			}
		}
		read <- text.String()
	}()
	select {
	case text := <-read:
		wantInOrder(t, text, backlogLines)
		var lost int
		_, after, _ := strings.Cut(text, "did not take them\t")
		if _, err := fmt.Sscanf(after, `{"lines": %d}`, &lost); err != nil || lost+strings.Count(text, "number") != lines {
			t.Errorf("%d written and %d said to be lost of %d: %v", strings.Count(text, "number"), lost, lines, err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the lines never came")
	}
}

func TestLostLinesAreToldInTheirPlace(t *testing.T) {
	var got []string
	b := newBacklog(func(n uint64) { got = append(got, fmt.Sprintf("lost %d", n)) })
	say := func(text string) func() { return func() { got = append(got, text) } }
	for i := range backlogLines + 2 {
		b.add(say(fmt.Sprint(i)))
	}
	b.write(<-b.queue)
	b.add(say("later"))
	go b.run()
	if left := b.flush(); left != 0 {
		t.Fatalf("%d left", left)
	}
	end := got[len(got)-3:]
	if want := []string{fmt.Sprint(backlogLines - 1), "lost 2", "later"}; end[0] != want[0] || end[1] != want[1] || end[2] != want[2] {
		t.Errorf("the end is %q, want %q", end, want)
	}
}
