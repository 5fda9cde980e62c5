//go:build linux && cgo

package watcher

import (
	"context"
	"regexp"
	"slices"
	"sync"
	"testing"

	"github.com/coreos/go-systemd/v22/sdjournal"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// follower is a journal source with a receiver, which looks at each record by itself.
type follower struct {
	cancel context.CancelFunc
	ended  chan struct{}

	mu    sync.Mutex
	seen  map[string]int    // how often the record with that word was read
	boot  map[string]string // the boot that it was of, the last time and the first
	first map[string]string
	sum   Batch
	told  []string // the losses that were told of, but for what journald itself missed
	err   error
	// gate holds the source back at the record with the word at, until it is closed.
	at   string
	held chan struct{}
	gate chan struct{}
}

// recordWord is the word of a record of testhost.KernelRecord.
var recordWord = regexp.MustCompile(`ctwarden_test_\d+`)

// follow runs the source until the end of the test or stop.
func follow(t *testing.T, cfg JournalConfig) *follower {
	t.Helper()
	j, err := NewJournal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{cancel: cancel, ended: make(chan struct{}), seen: map[string]int{}, boot: map[string]string{}, first: map[string]string{}}
	j.seen = f.look
	out := make(chan Batch)
	over := make(chan error, 1)
	go func() { over <- j.Run(ctx, out) }()
	go f.receive(out, over)
	t.Cleanup(func() { f.stop(t) })
	testhost.Eventually(t, "the source catches up", func() bool { return f.total().CaughtUp })
	return f
}

func (f *follower) look(h *sdjournal.Journal) {
	text, _ := h.GetDataValue("MESSAGE") // one without a text has no word
	boot, _ := h.GetDataValue("_BOOT_ID")
	word := recordWord.FindString(text)
	if word == "" {
		return
	}
	f.mu.Lock()
	if f.seen[word]++; f.seen[word] == 1 {
		f.first[word] = boot
	}
	f.boot[word] = boot
	var held, gate chan struct{}
	if word == f.at {
		held, gate, f.at = f.held, f.gate, ""
	}
	f.mu.Unlock()
	if gate != nil {
		close(held)
		<-gate
	}
}

// hold has the kernel log a record and holds the source back at it, until release is called.
func (f *follower) hold(t *testing.T) (release func()) {
	t.Helper()
	held, gate := make(chan struct{}), make(chan struct{})
	f.mu.Lock() // until it is known what to wait for
	f.at, f.held, f.gate = testhost.KernelRecord(t), held, gate
	f.mu.Unlock()
	release = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(release)
	<-held
	return release
}

func (f *follower) receive(out <-chan Batch, over <-chan error) {
	defer close(f.ended)
	for {
		select {
		case b := <-out:
			f.mu.Lock()
			f.sum = add(f.sum, b)
			if text := b.Stats.LostText; text != "" && text != missedText {
				f.told = append(f.told, text)
			}
			f.mu.Unlock()
		case f.err = <-over:
			return
		}
	}
}

// stop ends the source, and returns all that it sent.
func (f *follower) stop(t *testing.T) Batch {
	t.Helper()
	f.cancel()
	<-f.ended
	if f.err != nil {
		t.Errorf("Run = %v", f.err)
	}
	return f.total()
}

// total is all that came so far.
func (f *follower) total() Batch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sum
}

// losses are the losses that were told of. What journald itself missed is not among them: that may happen to any test
// on a machine where another one fills the kernel's ring.
func (f *follower) losses() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.told)
}

// count is how many of the words were read not at all, and how many more than once.
func (f *follower) count(words []string) (lost, twice int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, word := range words {
		switch n := f.seen[word]; {
		case n == 0:
			lost++
		case n > 1:
			twice++
		}
	}
	return lost, twice
}

// wait waits until all the words have been read and are behind the position that was sent.
func (f *follower) wait(t *testing.T, words []string) {
	t.Helper()
	testhost.Eventually(t, "the records are read", func() bool { lost, _ := f.count(words); return lost == 0 })
}
