package testvm

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Line is one line of a console, and when it came by the clock of the machine that the test runs on.
type Line struct {
	At   time.Time
	Text string
}

// Console keeps the lines of a serial line. It may be used by several goroutines.
type Console struct {
	mu    sync.Mutex
	part  []byte
	lines []Line
}

// Write implements io.Writer.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.part = append(c.part, p...)
	for {
		line, rest, whole := bytes.Cut(c.part, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		c.lines = append(c.lines, Line{time.Now(), strings.TrimRight(string(line), "\r")})
		c.part = rest
	}
}

// Since returns the lines after the first n.
func (c *Console) Since(n int) []Line {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Line(nil), c.lines[n:]...)
}

// String has all lines, each with when it came.
func (c *Console) String() string {
	var b strings.Builder
	for _, l := range c.Since(0) {
		fmt.Fprintf(&b, "%s %s\n", l.At.Format("15:04:05.000"), l.Text)
	}
	return b.String()
}
