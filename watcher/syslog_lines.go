package watcher

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// scan takes lines of a backlog.
func (s *Syslog) scan(ctx context.Context, f *logFile, lines []byte) error {
	stats, err := ScanReader(ctx, bytes.NewReader(lines), s.parser, func(m remediate.Match) error {
		s.take(f, m)
		return nil
	})
	if err != nil {
		return fmt.Errorf("scan %s: %w", s.cfg.Path, err)
	}
	t := &s.send.batch.Stats
	t.Records += stats.Records
	t.Bytes += stats.Bytes
	t.NotKernel += stats.NotKernel
	t.OtherHost += stats.OtherHost
	t.Unparsed += stats.Unparsed
	if stats.OtherHost > 0 {
		s.hosts.doubt(s.cfg.Now())
	}
	return nil
}

// tail takes lines of the live end.
func (s *Syslog) tail(ctx context.Context, f *logFile, lines []byte) error {
	if f.tail == nil {
		t, err := newTailer()
		if err != nil {
			return err
		}
		f.tail = t
	}
	parse := s.parser.Open() || HoldsPhrase(lines)
	return s.bounded(lines, func(lines []byte) error {
		s.count(bytes.Count(lines, []byte{'\n'}), len(lines))
		if mono, ok := lastStamp(lines); ok {
			s.send.kernel(KernelRecord{BootID: s.cfg.BootID, Mono: mono, Severity: SeverityUnknown})
		}
		return f.tail.lines(ctx, lines, func(line string) {
			if parse {
				s.line(f, []byte(line))
			}
		})
	})
}

// bounded hands runs of lines to each, leaving out lines that are too long.
func (s *Syslog) bounded(lines []byte, each func(lines []byte) error) error {
	for len(lines) > maxLine {
		n := 0 // the length of the run
		long := 0
		for n < len(lines) && long == 0 {
			if l := bytes.IndexByte(lines[n:], '\n') + 1; l > maxLine {
				long = l
			} else {
				n += l
			}
		}
		if err := each(lines[:n]); err != nil {
			return err
		}
		if long > 0 {
			s.tooLong(lines[n : n+long])
		}
		lines = lines[n+long:]
	}
	return each(lines)
}

// tooLong counts a line that is passed over.
func (s *Syslog) tooLong(line []byte) {
	s.count(1, len(line))
	if HoldsPhrase(line) {
		s.send.batch.Stats.Unparsed++
	}
}

func (s *Syslog) count(records, size int) {
	s.send.batch.Stats.Records += uint64(records)
	s.send.batch.Stats.Bytes += uint64(size)
}

// line judges one line.
func (s *Syslog) line(f *logFile, line []byte) {
	m, verdict := s.parser.Parse(line)
	switch verdict {
	case VerdictMatch:
		s.take(f, m)
	case VerdictNotKernel:
		s.send.batch.Stats.NotKernel++
	case VerdictOtherHost:
		s.send.batch.Stats.OtherHost++
		s.hosts.doubt(s.cfg.Now())
	case VerdictUnparsed:
		s.send.batch.Stats.Unparsed++
	case VerdictNone:
	}
}

// take takes a match, unless it is from before what the first start ever looks back to.
func (s *Syslog) take(f *logFile, m remediate.Match) {
	if f.off < s.oldEnd && m.Time.Before(s.oldest) {
		return
	}
	s.send.match(m)
}

// hostCheck notices a file that holds other hosts' kernel lines alone: one that a relay writes, or one whose lines
// carry another name than the agent goes by. Nothing in it would ever count, and that must not look like silence.
type hostCheck struct {
	host  string // as compared; "" or "*": any
	own   bool   // a kernel line of this host was seen
	other string // another host that a kernel line names
	// anew asks for a look at the last lines; checked is when the check last started anew.
	anew    bool
	checked time.Time
}

func newHostCheck(host string) hostCheck { return hostCheck{host: remediate.HostLabel(host)} }

// any is true where every host counts.
func (h *hostCheck) any() bool { return h.host == "" || h.host == "*" }

// look searches lines for kernel lines until one of this host is found.
func (h *hostCheck) look(lines []byte) {
	word := []byte(" kernel")
	for !h.own && !h.any() {
		at := bytes.Index(lines, word)
		if at < 0 {
			return
		}
		start := bytes.LastIndexByte(lines[:at], '\n') + 1
		end := len(lines)
		if n := bytes.IndexByte(lines[at:], '\n'); n >= 0 {
			end = at + n
		}
		if env, ok := cutEnvelope(lines[start:end]); ok && env.kernel {
			h.kernelLine(string(env.host))
		}
		lines = lines[end:]
	}
}

func (h *hostCheck) kernelLine(host string) {
	if host == "" || remediate.HostLabel(host) == h.host {
		h.own = true
		return
	}
	h.other = host
}

// doubt is told that a line was refused for its host: the host's name may have changed. Once in a minute the check
// starts anew.
func (h *hostCheck) doubt(now time.Time) {
	if h.own && now.Sub(h.checked) > time.Minute {
		h.own, h.other, h.anew, h.checked = false, "", true, now
	}
}

// state is the state of a file that can be read.
func (h *hostCheck) state(path string) State {
	if h.own || h.other == "" || h.any() {
		return State{Up: true}
	}
	return State{
		Problem: fmt.Sprintf("all kernel lines in %s are other hosts' (%s), none is of this host (%s)", path, h.other, h.host),
		Remedy:  "set host: to the name in the file, if it is this host's; else take the file out of sources.syslog.files",
	}
}
