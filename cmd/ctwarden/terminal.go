package main

import "io"

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
