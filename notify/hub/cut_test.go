package hub

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// cut is a cable to a server that can be cut.
type cut struct {
	url, to string
	l       net.Listener

	mu    sync.Mutex
	off   bool
	conns map[net.Conn]bool
	work  sync.WaitGroup
}

func newCut(t *testing.T, server string) *cut {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cut{url: "nats://" + l.Addr().String(), to: strings.TrimPrefix(server, "nats://"), l: l, conns: map[net.Conn]bool{}}
	c.work.Go(c.accept)
	t.Cleanup(func() {
		l.Close()
		c.cut(true)
		c.work.Wait()
	})
	return c
}

// cut closes every connection and takes no new one, until it is called with false.
func (c *cut) cut(off bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = off
	if off {
		for conn := range c.conns {
			conn.Close()
		}
	}
}

func (c *cut) accept() {
	for {
		in, err := c.l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", c.to)
		if err != nil || !c.keep(in, out) {
			in.Close()
			if err == nil {
				out.Close()
			}
			continue
		}
		for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
			c.work.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				pair[0].Close()
				pair[1].Close()
			})
		}
	}
}

func (c *cut) keep(conns ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off {
		return false
	}
	for _, conn := range conns {
		c.conns[conn] = true
	}
	return true
}
