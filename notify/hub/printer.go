package hub

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// printBatches and printEvents bound what waits to be printed. It is not acknowledged while it waits, so that it has to
	// stay well below maxPending.
	printBatches = 1024
	printEvents  = 4 * maxBatch
	// lastPrint is how long a hub that ends waits for what is to be printed.
	lastPrint = 2 * time.Second
)

// printer prints events beside the loop, which must not wait for a terminal or a pipe that takes nothing. What does not fit
// is not printed, and counted. Events are acknowledged once they are printed, so that a hub that dies leaves none out.
type printer struct {
	h *Hub
	// in has room for printBatches. The goroutine that leads sends, Run closes it.
	in      chan Batch
	waiting atomic.Int64 // events
	// ready is closed when Options.Ready is due, before the first batch.
	ready chan struct{}
	// done is closed at the end; err is valid then.
	done chan struct{}
	err  error
	// printed has the ids of the last events that were printed.
	printed *recent
}

func newPrinter(h *Hub) *printer {
	return &printer{h: h, in: make(chan Batch, printBatches), ready: make(chan struct{}), done: make(chan struct{}), printed: newRecent(remembered)}
}

// take has a batch printed and acknowledged. It never blocks.
func (p *printer) take(b Batch) {
	if p.h.o.Print == nil {
		b.Ack()
		return
	}
	n := int64(len(b.Events))
	if p.waiting.Add(n) <= printEvents {
		select {
		case p.in <- b:
			return
		default:
		}
	}
	p.waiting.Add(-n)
	b.Ack()
	p.h.mu.Lock()
	news := p.h.tally.unprinted == 0
	p.h.tally.unprinted += uint64(n)
	p.h.mu.Unlock()
	if news {
		p.h.o.Log.Warn("events_not_printed", zap.String("meaning", "what reads the events of this hub is too slow; they are kept in the stream, and counted"))
	}
}

// run prints until in is closed, or printing fails.
func (p *printer) run() {
	defer close(p.done)
	told := p.ready
	for {
		var b Batch
		more := true
		select {
		case <-told:
		case b, more = <-p.in:
		}
		select {
		case <-told: // also where both have come
			told = nil
			if p.h.o.Ready != nil {
				p.h.o.Ready()
			}
		default:
		}
		switch {
		case !more:
			return
		case len(b.Events) == 0:
			continue
		}
		if p.err = p.print(b); p.err != nil {
			return
		}
		p.waiting.Add(-int64(len(b.Events)))
		b.Ack()
	}
}

func (p *printer) print(b Batch) error {
	for _, d := range b.Events {
		if p.printed.has(d.Event.ID) {
			continue
		}
		if err := p.h.o.Print(d.Received, d.Raw); err != nil {
			return &printError{err}
		}
		p.printed.add(d.Event.ID)
	}
	if p.h.o.Printed == nil {
		return nil
	}
	if err := p.h.o.Printed(); err != nil {
		return &printError{err}
	}
	return nil
}

// end waits for the last lines, within bounds: a terminal that is stopped takes none.
func (p *printer) end() error {
	close(p.in)
	timer := time.NewTimer(lastPrint)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.err
	case <-timer.C:
		return nil
	}
}
