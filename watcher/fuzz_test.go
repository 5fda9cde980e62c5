package watcher

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/remediate"
)

// wholeMessage is the message in all its forms, written down a second time and in another way than MatchMessage.
var wholeMessage = regexp.MustCompile(`^(?:` + onceMessage + `|message repeated [1-9]\d{0,9} times: \[ *(?:\[[^\]]*\][\[ ][^a-z_]*)?` +
	onceMessage + `[ \t\r\n\x00]*\])[ \t\r\n\x00]*$`)

const onceMessage = `(?:(?:nf_conntrack: ){1,2}table full(?: in netns [1-9]\d{0,9})?, dropping packet\.?` +
	`|ip_conntrack: table full, dropping packet\.?|ip_conntrack: maximum limit of [1-9]\d{0,9} entries exceeded\.?` +
	`|(?:net_ratelimit|__ratelimit): [1-9]\d{0,9} callbacks suppressed\.?|(?:printk|NET): [1-9]\d{0,9} messages suppressed\.?)`

func FuzzMatchMessage(f *testing.F) {
	for _, form := range messageForms {
		f.Add([]byte(form.text))
		f.Add([]byte(repeated(9, form.text)))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		form, ok := MatchMessage(msg)
		if ok && !wholeMessage.Match(msg) {
			t.Fatalf("MatchMessage(%q) = %+v, which is no form of the message", msg, form)
		}
		if ok && !HoldsPhrase(msg) {
			t.Fatalf("MatchMessage(%q) matches, but HoldsPhrase is false", msg)
		}
		if ok == (form == Form{}) || form.Count < 0 || form.Suppressed < 0 || form.Count > 0 && form.Suppressed > 0 {
			t.Fatalf("MatchMessage(%q) = %+v, %t", msg, form, ok)
		}
	})
}

func FuzzLineParser(f *testing.F) {
	for _, env := range kernelEnvelopes {
		f.Add([]byte(env.line(plainMessage)), "hv042")
	}
	f.Add([]byte("Mar  1 10:00:30 hv042 last message repeated 3 times"), "*")
	f.Add([]byte("Mar  1 10:00:02 hv042 sshd[99]: Invalid user "+plainMessage), "hv042")
	f.Fuzz(func(t *testing.T, line []byte, host string) {
		cfg := lineConfig()
		cfg.Host = host
		p := NewLineParser(cfg)
		m, verdict := p.Parse(line)
		if verdict == VerdictMatch {
			checkMatch(t, line, host, m)
		}
		if verdict != VerdictNone && !HoldsPhrase(line) {
			t.Fatalf("Parse(%q): verdict %d without the phrase", line, verdict)
		}
		if again, v := NewLineParser(cfg).Parse(line); again != m || v != verdict {
			t.Fatalf("Parse(%q) differs the second time", line)
		}
		p.Parse([]byte("Mar  1 10:00:30 last message repeated 3 times"))
	})
}

// checkMatch checks what every match must be.
func checkMatch(t *testing.T, line []byte, host string, m remediate.Match) {
	t.Helper()
	if host != "*" && m.Host != "" && remediate.HostLabel(m.Host) != remediate.HostLabel(host) {
		t.Fatalf("Parse(%q) for %q matches host %q", line, host, m.Host)
	}
	if m.Mono < 0 || len(m.Text) > maxText || !bytes.Contains(line, []byte(m.Text)) || (m.Count > 0) == (m.Suppressed > 0) {
		t.Fatalf("Parse(%q) = %+v", line, m)
	}
	if _, ok := MatchMessage([]byte(m.Text)); !ok {
		t.Fatalf("Parse(%q): text %q is not the message", line, m.Text)
	}
	if tag := bytes.LastIndex(line, []byte("kernel")); tag < 0 && !bytes.ContainsAny(line, "[<;:") {
		t.Fatalf("Parse(%q) matches without a tag or a form that has none", line)
	}
}

// FuzzScanReader: the same matches and counts whatever the reader's chunks, and the same as line by line.
func FuzzScanReader(f *testing.F) {
	f.Add([]byte(scanText), []byte{1})
	f.Add([]byte(strings.Repeat(scanText+"\n", 3)), []byte{7, 1, 200})
	f.Add([]byte("\n\n"+scanText+"\x00\n\xff"), []byte{255, 0})
	f.Add([]byte("a\nNET: 2 messages suppressed.\n[1.0] NET: 2 messages suppressed.\nlast message repeated 2 times\n"), []byte{3})
	f.Fuzz(func(t *testing.T, text, sizes []byte) {
		want, wantStats := byLine(text)
		for name, r := range map[string]*chunkReader{
			"whole":  {bytes.NewReader(text), []int{len(text)}, 0},
			"chunks": {bytes.NewReader(text), chunks(sizes), 0},
		} {
			got, stats := scan(t, r, lineConfig())
			if !slices.Equal(got, want) || stats != wantStats {
				t.Fatalf("%s of %q: %+v, %+v\nby line: %+v, %+v", name, text, got, stats, want, wantStats)
			}
		}
	})
}

func chunks(sizes []byte) []int {
	out := []int{1}
	for _, n := range sizes {
		out = append(out, int(n)*int(n))
	}
	return out
}

// byLine gives every line to the parser, as a live source does.
func byLine(text []byte) ([]remediate.Match, Stats) {
	s := Stats{Bytes: uint64(len(text))}
	var matches []remediate.Match
	p := NewLineParser(lineConfig())
	lines := bytes.Split(text, []byte("\n"))
	if last := len(lines) - 1; len(lines[last]) == 0 {
		lines = lines[:last]
	}
	for _, line := range lines {
		s.Records++
		if len(line) >= maxLine {
			if p.passOver(line[:maxLine]) == VerdictUnparsed {
				s.Unparsed++
			}
			continue
		}
		m, verdict := p.Parse(line)
		switch verdict {
		case VerdictMatch:
			matches = append(matches, m)
			s.Matches += uint64(m.Count)
			s.Suppressed += uint64(m.Suppressed)
		case VerdictNotKernel:
			s.NotKernel++
		case VerdictOtherHost:
			s.OtherHost++
		case VerdictUnparsed:
			s.Unparsed++
		case VerdictNone:
		}
	}
	return matches, s
}
