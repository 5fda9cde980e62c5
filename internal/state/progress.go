package state

import (
	"io"
	"sync/atomic"
	"time"
)

// Progress tells how far the opening of a file has come, to whoever waits for it. Its methods may be called from any
// goroutine, and do nothing on nil.
type Progress struct {
	since      time.Time    // what moved counts from
	moved      atomic.Int64 // when it last did, in ns
	busy       atomic.Bool
	read, size atomic.Int64 // in bytes
}

// NewProgress is what [Options] take.
func NewProgress() *Progress { return &Progress{since: time.Now()} }

// Of tells how many bytes of how many were read, and for how long nothing has moved; busy is false where no file is being
// opened.
func (p *Progress) Of() (read, size int64, still time.Duration, busy bool) {
	if p == nil || !p.busy.Load() {
		return 0, 0, 0, false
	}
	return p.read.Load(), p.size.Load(), time.Since(p.since) - time.Duration(p.moved.Load()), true
}

func (p *Progress) begin(size int64) {
	if p == nil {
		return
	}
	p.read.Store(0)
	p.size.Store(size)
	p.alive()
	p.busy.Store(true)
}

// alive notes that something moved.
func (p *Progress) alive() {
	if p != nil {
		p.moved.Store(int64(time.Since(p.since)))
	}
}

func (p *Progress) end() {
	if p != nil {
		p.busy.Store(false)
	}
}

// countedReader books what it reads.
type countedReader struct {
	io.ReaderAt
	progress *Progress
}

func (r countedReader) ReadAt(b []byte, at int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(b, at)
	if p := r.progress; p != nil && len(b) > pageHeader { // the header is read again with its page
		p.read.Add(int64(n))
		p.alive()
	}
	return n, err
}
