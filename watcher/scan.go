package watcher

import (
	"bytes"
	"context"
	"io"

	"github.com/ctwarden/ctwarden/remediate"
)

// scanBlock is how much is read and searched at a time, in bytes: it fits a CPU's cache, and a line that goes over its
// end is moved to the front of the next.
const scanBlock = 256 << 10

// needles are what a line must hold to matter (see HoldsPhrase), each short enough to be searched for quickly and
// starting with a letter that is not too common.
var needles = [...]string{"conntrack: ", "pressed"}

// ScanReader reads r to its end and hands each match to emit, in order. It counts all lines but looks only at those that
// can matter, so that a large file takes little more time than reading it. Its memory does not depend on what it reads:
// of a line longer than 64 KiB only so much is looked at, and it never matches.
//
// It ends at the first error of r or emit, or with ctx, and returns what it counted until then.
func ScanReader(ctx context.Context, r io.Reader, p *LineParser, emit func(remediate.Match) error) (Stats, error) {
	s := scanner{parser: p, emit: emit}
	buf := make([]byte, scanBlock)
	held, idle := 0, 0
	for {
		if err := ctx.Err(); err != nil {
			return s.stats, err
		}
		n, err := r.Read(buf[held:])
		s.stats.Bytes += uint64(n)
		used, emitErr := s.block(buf[:held+n], held)
		if emitErr != nil {
			return s.stats, emitErr
		}
		held = copy(buf, buf[used:held+n])
		if err == io.EOF {
			return s.stats, s.end(buf[:held])
		}
		if err != nil {
			return s.stats, err
		}
		if idle++; n > 0 {
			idle = 0
		} else if idle > 100 {
			return s.stats, io.ErrNoProgress
		}
	}
}

// scanner is the state of one ScanReader.
type scanner struct {
	parser *LineParser
	emit   func(remediate.Match) error
	stats  Stats
	// skipping is true inside a line that is too long and was judged already.
	skipping bool
}

// block takes the lines that end in b, of which the first known bytes hold no end of line. It returns how much of b is
// done with: the rest is the start of a line.
func (s *scanner) block(b []byte, known int) (used int, err error) {
	end := bytes.LastIndexByte(b[known:], '\n')
	if end >= 0 {
		end += known + 1
		if err := s.lines(b[:end]); err != nil {
			return 0, err
		}
		b = b[end:]
	}
	used = max(end, 0)
	switch {
	case s.skipping:
		return used + len(b), nil
	case len(b) >= maxLine:
		s.skipping = true
		return used + len(b), s.line(b)
	}
	return used, nil
}

// lines takes whole lines.
func (s *scanner) lines(b []byte) error {
	s.stats.Records += uint64(bytes.Count(b, []byte{'\n'}))
	if s.skipping {
		s.skipping = false
		b = b[bytes.IndexByte(b, '\n')+1:]
	}
	next := finder{text: b}
	for len(next.text) > 0 {
		if !s.parser.Open() && !next.seek() {
			return nil
		}
		if err := s.line(next.line()); err != nil {
			return err
		}
	}
	return nil
}

// end takes a last line that has no end.
func (s *scanner) end(b []byte) error {
	if s.skipping {
		s.stats.Records++
		return nil
	}
	if len(b) == 0 {
		return nil
	}
	s.stats.Records++
	return s.line(b)
}

// line judges one line, without its end.
func (s *scanner) line(line []byte) error {
	if len(line) >= maxLine {
		s.count(s.parser.passOver(line[:maxLine]))
		return nil
	}
	m, verdict := s.parser.Parse(line)
	if verdict != VerdictMatch {
		s.count(verdict)
		return nil
	}
	s.stats.Matches += uint64(m.Count)
	s.stats.Suppressed += uint64(m.Suppressed)
	return s.emit(m)
}

func (s *scanner) count(v Verdict) {
	switch v {
	case VerdictNotKernel:
		s.stats.NotKernel++
	case VerdictOtherHost:
		s.stats.OtherHost++
	case VerdictUnparsed:
		s.stats.Unparsed++
	case VerdictNone, VerdictMatch:
	}
}

// finder goes through whole lines, from one that can matter to the next.
type finder struct {
	text []byte
	// at is where each needle is next, counted from the end of text, so that it stays right while lines are taken off
	// the front; searched says that it is known. A needle that is nowhere is at 0.
	at       [len(needles)]int
	searched bool
}

// seek drops the lines before the next one that holds a needle; false: there is none.
func (f *finder) seek() bool {
	nearest := 0
	for i := range needles {
		if !f.searched || f.at[i] > len(f.text) {
			f.at[i] = 0
			if at := bytes.Index(f.text, []byte(needles[i])); at >= 0 {
				f.at[i] = len(f.text) - at
			}
		}
		nearest = max(nearest, f.at[i])
	}
	f.searched = true
	if nearest == 0 {
		return false
	}
	f.text = f.text[bytes.LastIndexByte(f.text[:len(f.text)-nearest], '\n')+1:]
	return true
}

// line takes the first line off the text.
func (f *finder) line() []byte {
	line, rest, _ := bytes.Cut(f.text, []byte{'\n'})
	f.text = rest
	return line
}
