package web

import "sync"

// broadcast wakes everybody who waits, without a queue: whoever was busy meanwhile sees that there is news when it comes
// back.
type broadcast struct {
	mu sync.Mutex
	// next is closed by tell; it holds nothing.
	next chan struct{}
}

func newBroadcast() broadcast { return broadcast{next: make(chan struct{})} }

// wait is closed at the next tell. It is to be asked for before looking at what may have changed.
func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.next
}

func (b *broadcast) tell() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.next)
	b.next = make(chan struct{})
}
