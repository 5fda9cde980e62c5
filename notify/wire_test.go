package notify_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// wire is a proxy before the server that can pass on few bytes a second, or none, as a network does that is overloaded or
// has lost its way. Connections stand meanwhile.
type wire struct {
	listener net.Listener
	to       string
	ctx      context.Context
	group    sync.WaitGroup

	mu      sync.Mutex
	limited bool
	rate    int           // bytes a second while limited
	changed chan struct{} // closed when the rate changes
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &wire{listener: l, to: to, ctx: ctx, changed: make(chan struct{})}
	w.group.Go(w.accept)
	t.Cleanup(func() {
		cancel()
		l.Close()
		w.group.Wait()
	})
	return w
}

func (w *wire) address() string { return w.listener.Addr().String() }

// slow limits what is passed on; 0: nothing.
func (w *wire) slow(rate int) { w.set(true, rate) }

func (w *wire) fast() { w.set(false, 0) }

func (w *wire) set(limited bool, rate int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limited, w.rate = limited, rate
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *wire) accept() {
	for {
		c, err := w.listener.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", w.to)
		if err != nil {
			c.Close()
			continue
		}
		stop := context.AfterFunc(w.ctx, func() { c.Close(); up.Close() })
		w.group.Go(func() { defer stop(); w.pass(c, up) })
		w.group.Go(func() { w.pass(up, c) })
	}
}

func (w *wire) pass(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 1024)
	for {
		n, err := from.Read(buf)
		if err != nil || !w.may(n) {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// may waits until n bytes may pass; false: the test is over.
func (w *wire) may(n int) bool {
	for {
		w.mu.Lock()
		limited, rate, changed := w.limited, w.rate, w.changed
		w.mu.Unlock()
		if !limited {
			return true
		}
		var enough <-chan time.Time
		if rate > 0 {
			enough = time.After(time.Duration(n) * time.Second / time.Duration(rate))
		}
		select {
		case <-enough:
			return true
		case <-changed: // look again
		case <-w.ctx.Done():
			return false
		}
	}
}
