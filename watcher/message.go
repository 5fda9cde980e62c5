package watcher

import "bytes"

// Form is what a kernel message says, once it is known to be one of ours.
type Form struct {
	// NetNS is the inode of the namespace that the message names. Zero: it names none.
	NetNS uint64
	// Count is how many times the message occurred. Zero for a notice of suppressed messages.
	Count int
	// Suppressed is the number of networking messages that the kernel did not print. Zero for the message itself.
	Suppressed int
}

// The texts are the kernel's own, from 2.4 on: net/ipv4/netfilter/ip_conntrack_core.c, then
// net/netfilter/nf_conntrack_core.c, net/core/utils.c and lib/ratelimit.c. Since about 4.7 the message has its prefix
// twice (pr_fmt and the text), since 6.17 it may name the namespace.
const (
	phraseFull  = "conntrack: table full"
	phraseLimit = "conntrack: maximum limit of "
)

// maxRepeats bounds N in "message repeated N times" and in the suppression notices: the kernel's and rsyslog's counters
// are 32-bit.
const maxRepeats = 1<<31 - 1

// MatchMessage tells whether msg, a kernel message without its envelope, is exactly the message of a full table or a
// notice of suppressed messages, and what it says. A period and blanks at its end are tolerated, since some kernels
// print them; any other deviation refuses it. "message repeated N times: [ MSG]", as rsyslog writes it, is MSG with a
// Count of N.
func MatchMessage(msg []byte) (Form, bool) {
	form, _, ok := matchMessage(msg)
	return form, ok
}

// matchMessage also returns the kernel's own words: msg without a wrapping "message repeated".
func matchMessage(msg []byte) (Form, []byte, bool) {
	msg = trimBlanks(msg)
	n, inner, ok := cutRepeated(msg)
	if !ok {
		form, ok := matchPlain(msg)
		return form, msg, ok
	}
	form, ok := matchPlain(inner)
	if !ok || form.Suppressed > maxRepeats/n {
		return Form{}, msg, false
	}
	form.Count *= n
	form.Suppressed *= n
	return form, inner, true
}

// cutRepeated takes "message repeated N times: [ MSG]" apart. MSG may start with the record's time since boot.
func cutRepeated(msg []byte) (n int, inner []byte, ok bool) {
	rest, ok := cutPrefix(msg, "message repeated ")
	if !ok {
		return 0, nil, false
	}
	times, rest, ok := cutNumber(rest, maxRepeats)
	if !ok {
		return 0, nil, false
	}
	rest, opened := cutPrefix(rest, " times: [")
	rest, closed := bytes.CutSuffix(rest, []byte("]"))
	inner = trimBlanks(bytes.TrimLeft(rest, " "))
	if _, after, ok := cutUptime(inner); ok {
		inner = after
	}
	return int(times), inner, opened && closed
}

// matchPlain matches one message, anchored at both ends.
func matchPlain(msg []byte) (Form, bool) {
	if form, ok := matchSuppressed(msg); ok {
		return form, true
	}
	msg = bytes.TrimSuffix(msg, []byte("."))
	if rest, ok := cutPrefix(msg, "ip_"); ok {
		return matchOld(rest)
	}
	rest, ok := cutPrefix(msg, "nf_")
	if !ok {
		return Form{}, false
	}
	if again, ok := cutPrefix(rest, "conntrack: nf_"); ok {
		rest = again
	}
	rest, ok = cutPrefix(rest, phraseFull)
	if !ok {
		return Form{}, false
	}
	inode := uint64(0)
	if named, ok := cutPrefix(rest, " in netns "); ok {
		inode, rest, ok = cutNumber(named, 1<<32-1)
		if !ok {
			return Form{}, false
		}
	}
	if string(rest) != ", dropping packet" {
		return Form{}, false
	}
	return Form{NetNS: inode, Count: 1}, true
}

// matchOld matches what stands behind "ip_" in the messages of 2.4 and early 2.6.
func matchOld(rest []byte) (Form, bool) {
	if string(rest) == phraseFull+", dropping packet" {
		return Form{Count: 1}, true
	}
	rest, ok := cutPrefix(rest, phraseLimit)
	if !ok {
		return Form{}, false
	}
	_, rest, ok = cutNumber(rest, 1<<31-1)
	if !ok || string(rest) != " entries exceeded" {
		return Form{}, false
	}
	return Form{Count: 1}, true
}

// suppressions are the notices for networking messages, by what stands before and behind the number. A notice for any
// other function's messages ("neigh_update: 3 callbacks suppressed") is none of ours.
var suppressions = [...]struct{ before, after string }{
	{"net_ratelimit: ", " callbacks suppressed"},
	{"__ratelimit: ", " callbacks suppressed"},
	{"printk: ", " messages suppressed"},
	{"NET: ", " messages suppressed"},
}

func matchSuppressed(msg []byte) (Form, bool) {
	if len(msg) == 0 || msg[len(msg)-1] != 'd' && msg[len(msg)-1] != '.' {
		return Form{}, false // none ends otherwise, and the message of today's kernels does
	}
	for _, s := range suppressions {
		rest, ok := cutPrefix(msg, s.before)
		if !ok {
			continue
		}
		n, rest, ok := cutNumber(rest, maxRepeats)
		if !ok || string(bytes.TrimSuffix(rest, []byte("."))) != s.after {
			return Form{}, false
		}
		return Form{Suppressed: int(n)}, true
	}
	return Form{}, false
}

// maxDigits is how long a number may be: more than any limit needs, and no more than fit 64 bits.
const maxDigits = 18

// cutNumber takes a decimal number from 1 to limit off the front of b, written as the kernel writes it: no sign, no
// leading zero.
func cutNumber(b []byte, limit uint64) (n uint64, rest []byte, ok bool) {
	i := countDigits(b)
	if i == 0 || i > maxDigits || b[0] == '0' {
		return 0, nil, false
	}
	v := uint64(atoi(b[:i]))
	if v > limit {
		return 0, nil, false
	}
	return v, b[i:], true
}

// countDigits is the length of the run of digits at the front of b.
func countDigits(b []byte) int {
	i := 0
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	return i
}

// hasPrefix and cutPrefix are those of package bytes for a constant prefix, which takes half the time.
func hasPrefix(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && string(b[:len(prefix)]) == prefix
}

func cutPrefix(b []byte, prefix string) (rest []byte, ok bool) {
	if !hasPrefix(b, prefix) {
		return b, false
	}
	return b[len(prefix):], true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// trimBlanks takes blanks off the end of b: some kernels print one behind the period, some files have CR LF, and after
// a crash a file may have NUL bytes where a line ended.
func trimBlanks(b []byte) []byte {
	end := len(b)
	for ; end > 0; end-- {
		switch b[end-1] {
		case ' ', '\t', '\r', '\n', 0:
			continue
		}
		break
	}
	return b[:end]
}

// HoldsPhrase tells whether a line in b can matter: that is, whether b holds the message of a full table or a notice of
// suppressed messages, in whatever context. A line for which it is false never yields a match, with one exception:
// "last message repeated N times" directly behind a match (see [LineParser.Parse]).
func HoldsPhrase(b []byte) bool {
	return holdsMessage(b) ||
		bytes.Contains(b, []byte("callbacks suppressed")) || bytes.Contains(b, []byte("messages suppressed"))
}

// holdsMessage tells whether the message of a full table stands in b. Lines that hold it and are not the kernel's
// message are counted as rejected; notices of suppressed messages are not worth a count.
func holdsMessage(b []byte) bool {
	return bytes.Contains(b, []byte(phraseFull)) || bytes.Contains(b, []byte(phraseLimit))
}
