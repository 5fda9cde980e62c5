package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// terminal passes text on with what would give a terminal orders replaced: names of namespaces and hosts in log lines
// can be any user's choice, and whoever looks at them is often root.
type terminal struct {
	w io.Writer
	// last is the byte before: the controls from 0x80 to 0x9f are two bytes in UTF-8, which may come apart.
	last byte
}

// Write implements io.Writer.
func (t *terminal) Write(p []byte) (int, error) {
	clean := make([]byte, len(p))
	for i, c := range p {
		switch {
		case c < ' ' && c != '\n' && c != '\t', c == 0x7f:
			clean[i] = '?'
		case t.last == 0xc2 && c >= 0x80 && c < 0xa0:
			clean[i] = 0xa0 // makes it a blank
		default:
			clean[i] = c
		}
		t.last = c
	}
	return t.w.Write(clean)
}

// columns is how wide text should be: the terminal's width within reason, or what reads well where there is none.
func columns(w io.Writer) int {
	const usual, least, most = 100, 40, 140
	f, ok := w.(*os.File)
	if !ok {
		return usual
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return usual
	}
	return min(max(int(size.Col), least), most)
}
