package watcher

import (
	"bytes"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// Verdict is what a line turned out to be.
type Verdict int

// The verdicts. All but the first two are for lines that hold the message of a full table in some context.
const (
	VerdictNone      Verdict = iota // nothing of ours
	VerdictMatch                    // the kernel's message, or its notice of suppressed messages
	VerdictNotKernel                // somebody else's line that quotes the message
	VerdictOtherHost                // another host's kernel
	VerdictUnparsed                 // neither the message exactly nor clearly somebody else's
)

// LineConfig says what the lines of a stream are to be taken for.
type LineConfig struct {
	// Source and Path are copied to each match.
	Source remediate.Source
	Path   string
	// Host is the host whose lines count, compared by the first label, case ignored; "*" is any. Lines that name no
	// host count as its own.
	Host string
	// BootID and BootTime are those of the running kernel, where the lines may come from it; zero: unknown. A line
	// with no time of day gets BootTime plus its time since boot.
	BootID   string
	BootTime time.Time
	// Now bounds the times of lines that carry no year: none lies more than a day behind it. For a file at rest it is
	// the time of the last change. Zero: the clock's time when the line is parsed, as is right for a live stream.
	Now time.Time
	// Year is the year of the first line that carries none. Zero: the latest that Now allows.
	Year int
	// After is the time of the line before the first, where a stream goes on that has a Year; see [LineParser.Last].
	After time.Time
	// Location is the time zone of lines that carry none. Nil: the local one.
	Location *time.Location
}

// maxOpen is how many lines a match waits for a "last message repeated" behind it. Old syslog daemons write it as that
// host's next line, so that only the lines of other hosts can stand between.
const maxOpen = 1000

// maxText is the longest Text of a match, in bytes.
const maxText = 256

// LineParser turns lines of text, as written by syslog daemons, dmesg and journalctl, into matches. It is for one
// stream and one goroutine: it keeps the year and the matches that the next line may repeat.
type LineParser struct {
	cfg  LineConfig
	host string
	last time.Time
	// open has each host's match whose next line has not been seen; openLines counts the lines since the last match.
	open      openMatches
	openLines int
	// The last line's host, as written and as compared, the last message, and the last line's second: they hardly ever
	// change.
	lastHost, lastKey, lastText string
	hosts                       map[string]hostName // the last ones, by name as written
	second                      parsedSecond
}

// maxHosts is how many host names a parser keeps: a file of more is rare, and forged.
const maxHosts = 1024

// hostName is a host's name as written and as compared.
type hostName struct{ written, key string }

// openMatches are matches that wait for the next line, by host. The last one stands apart, since there is seldom more
// than one.
type openMatches struct {
	held bool
	host string
	one  repeatable
	more map[string]repeatable
}

func (o *openMatches) len() int {
	if o.held {
		return len(o.more) + 1
	}
	return len(o.more)
}

func (o *openMatches) set(host string, r repeatable) {
	if o.held && o.host != host {
		if o.more == nil {
			o.more = map[string]repeatable{}
		}
		o.more[o.host] = o.one
	}
	if len(o.more) > 0 {
		delete(o.more, host)
	}
	o.held, o.host, o.one = true, host, r
}

func (o *openMatches) get(host string) (repeatable, bool) {
	if o.held && o.host == host {
		return o.one, true
	}
	r, ok := o.more[host]
	return r, ok
}

func (o *openMatches) drop(host string) {
	if o.held && o.host == host {
		o.held = false
	} else if len(o.more) > 0 {
		delete(o.more, host)
	}
}

func (o *openMatches) clear() {
	o.held = false
	clear(o.more)
}

// repeatable is what "last message repeated N times" repeats.
type repeatable struct {
	time time.Time
	form Form
	text string
}

// NewLineParser makes a parser for the stream that cfg describes.
func NewLineParser(cfg LineConfig) *LineParser {
	if cfg.Location == nil {
		cfg.Location = time.Local
	}
	return &LineParser{cfg: cfg, last: cfg.After, host: remediate.HostLabel(cfg.Host), hosts: map[string]hostName{}}
}

// Last is the time of the last line that carried no year; zero: there was none.
func (p *LineParser) Last() time.Time { return p.last }

// Open tells whether the next line may repeat a match ("last message repeated N times"). While it is true, every line
// must be given to Parse; else those for which [HoldsPhrase] is false may be left out.
func (p *LineParser) Open() bool { return p.open.len() > 0 }

// Parse judges one line, with or without its end. The match is valid only with VerdictMatch. "last message repeated N
// times", as old syslog daemons write it behind a match, is a match with a Count of N.
func (p *LineParser) Parse(line []byte) (remediate.Match, Verdict) {
	if !p.Open() && !HoldsPhrase(line) {
		return remediate.Match{}, VerdictNone
	}
	if p.openLines++; p.openLines > maxOpen {
		p.open.clear()
	}
	env, ok := cutEnvelope(line)
	if !ok {
		// Whose line it is cannot be told, so that it may be any host's last message.
		p.open.clear()
		return reject(line, VerdictUnparsed)
	}
	key := p.key(env.host)
	if env.repeats > 0 {
		return p.repeat(key, env)
	}
	p.open.drop(key)
	return p.judge(key, env, line)
}

// judge decides on a line of a known envelope.
func (p *LineParser) judge(key string, env envelope, line []byte) (remediate.Match, Verdict) {
	form, text, ok := matchMessage(env.msg)
	switch {
	case !env.kernel, !ok && quoted(env.msg):
		return reject(line, VerdictNotKernel)
	case p.host != "*" && key != p.host:
		return reject(line, VerdictOtherHost)
	case !ok:
		return reject(line, VerdictUnparsed)
	}
	m := p.match(env)
	m.NetNS, m.Count, m.Suppressed = form.NetNS, form.Count, form.Suppressed
	if text = text[:min(len(text), maxText)]; string(text) != p.lastText {
		p.lastText = string(text)
	}
	m.Text = p.lastText
	p.openLines = 0
	p.open.set(key, repeatable{m.Time, form, m.Text})
	return m, VerdictMatch
}

// reject is the verdict on a line that is not a match: why, if it holds the message at all.
func reject(line []byte, why Verdict) (remediate.Match, Verdict) {
	if holdsMessage(line) {
		return remediate.Match{}, why
	}
	return remediate.Match{}, VerdictNone
}

// quoted tells whether msg, a kernel message that is not exactly ours, merely quotes ours: in its middle, as audit does,
// or in front of the packet that a netfilter LOG rule describes.
func quoted(msg []byte) bool {
	if bytes.Contains(msg, []byte("IN=")) && bytes.Contains(msg, []byte(" OUT=")) {
		return true
	}
	for _, start := range []string{"nf_conntrack", "ip_conntrack", "message repeated "} {
		if hasPrefix(msg, start) {
			return false
		}
	}
	return true
}

// match is what the envelope alone says of a record.
func (p *LineParser) match(env envelope) remediate.Match {
	m := remediate.Match{
		Source: p.cfg.Source, Path: p.cfg.Path, Host: p.lastHost, Mono: env.mono, Time: p.time(env.stamp),
	}
	if year := m.Time.UTC().Year(); year < 1 || year > 9999 {
		m.Time = time.Time{} // no document can hold it
	}
	if m.Time.IsZero() && env.mono > 0 && !p.cfg.BootTime.IsZero() {
		m.Time = p.cfg.BootTime.Add(env.mono)
	}
	m.Time = m.Time.UTC()
	if p.thisBoot(m) {
		m.BootID = p.cfg.BootID
	}
	return m
}

// thisBoot tells whether the record can belong to the boot of the configuration: it did not start before that did. The
// kernel's clock stands still in suspend, so a record may seem to have started later. A minute is for clocks that were
// set right after the boot.
func (p *LineParser) thisBoot(m remediate.Match) bool {
	if p.cfg.BootTime.IsZero() || m.Time.IsZero() {
		return true
	}
	return m.Time.Add(-m.Mono).After(p.cfg.BootTime.Add(-time.Minute))
}

// repeat makes the match that "last message repeated N times" stands for.
func (p *LineParser) repeat(key string, env envelope) (remediate.Match, Verdict) {
	last, ok := p.open.get(key)
	if !ok {
		return remediate.Match{}, VerdictNone
	}
	// The next such line, half a minute on, counts from this one.
	p.openLines = 0
	m := p.match(env)
	if m.Time.IsZero() {
		m.Time = last.time
	}
	m.NetNS, m.Text = last.form.NetNS, last.text
	if last.form.Count > 0 {
		m.Count = env.repeats
	} else {
		m.Suppressed = min(last.form.Suppressed, maxRepeats/env.repeats) * env.repeats
	}
	return m, VerdictMatch
}

// key is the host's name as compared; lastHost is then the name as written. A line that names no host is this host's.
func (p *LineParser) key(host []byte) string {
	if len(host) == 0 {
		p.lastHost, p.lastKey = "", p.host
	} else if string(host) != p.lastHost {
		name, ok := p.hosts[string(host)]
		if !ok {
			name = p.addHost(string(host))
		}
		p.lastHost, p.lastKey = name.written, name.key
	}
	return p.lastKey
}

func (p *LineParser) addHost(written string) hostName {
	if len(p.hosts) == maxHosts {
		clear(p.hosts)
	}
	name := hostName{written, remediate.HostLabel(written)}
	p.hosts[written] = name
	return name
}

// passOver judges a line that is too long to be a log line. Whose it is is not asked, so that it may be any host's last
// message.
func (p *LineParser) passOver(start []byte) Verdict {
	p.open.clear()
	_, verdict := reject(start, VerdictUnparsed)
	return verdict
}
