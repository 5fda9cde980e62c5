package main

import (
	"sync"
	"time"
)

const (
	// backlogLines is how many log lines wait for a stderr or a journal that does not take them.
	backlogLines = 4096
	// backlogFlush is how long the end of the program waits for them.
	backlogFlush = time.Second
)

// backlog writes log lines behind the back of whoever logs, so that a stderr or a journal that is stuck stops the lines
// and nothing else. What comes while it is full is dropped; a line in its place says how many, once lines flow again.
type backlog struct {
	// notice writes the line about n lines that were dropped. Like every line it is called by run alone.
	notice func(n uint64)

	// queue holds 4096 lines and is never closed. What finds it full is dropped and counted.
	queue chan line
	stop  chan struct{} // closed by flush: no more lines are to come
	done  chan struct{} // closed by run at its end

	mu   sync.Mutex // keeps the lines in order, and guards what follows
	lost uint64     // lines dropped since the last one that was taken
}

// line is one log line on its way.
type line struct {
	lost  uint64 // how many were dropped just before it
	write func()
}

// newBacklog makes a backlog; run must be called in a goroutine of its own.
func newBacklog(notice func(n uint64)) *backlog {
	return &backlog{notice: notice, queue: make(chan line, backlogLines), stop: make(chan struct{}), done: make(chan struct{})}
}

// add hands a line over. It never waits for the line to be written.
func (b *backlog) add(write func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.queue <- line{b.lost, write}:
		b.lost = 0
	default:
		b.lost++
	}
}

// run writes until flush, and then what is left.
func (b *backlog) run() {
	defer close(b.done)
	for {
		select {
		case l := <-b.queue:
			b.write(l)
		case <-b.stop:
			for len(b.queue) > 0 {
				b.write(<-b.queue)
			}
			return
		}
	}
}

func (b *backlog) write(l line) {
	if l.lost > 0 {
		b.notice(l.lost)
	}
	l.write()
	if lost := b.lostLast(); lost > 0 {
		b.notice(lost)
	}
}

// lostLast takes the number of dropped lines where no line waits that could carry it.
func (b *backlog) lostLast() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) > 0 {
		return 0
	}
	lost := b.lost
	b.lost = 0
	return lost
}

// flush waits for the lines that are left, for a second at most, and returns how many were not written then. It is
// called once; no line may be added after it.
func (b *backlog) flush() (left int) {
	close(b.stop)
	select {
	case <-b.done:
	case <-time.After(backlogFlush):
	}
	return len(b.queue)
}
