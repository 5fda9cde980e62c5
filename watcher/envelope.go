package watcher

import (
	"bytes"
	"time"
)

// envelope is what stands around a message in a line of text.
type envelope struct {
	// kernel is true for a line of facility 0, where the line says a facility, with the tag "kernel", where the form
	// has tags.
	kernel bool
	host   []byte
	stamp  stamp
	mono   time.Duration
	msg    []byte
	// repeats is N of "last message repeated N times", which has neither tag nor message.
	repeats int
	// comma is true for a time with a decimal comma, as dmesg --time-format iso writes it.
	comma bool
}

// Facility 0 is the kernel's; an unknown one (the line does not say) may be.
const (
	facilityUnknown = -1
	facilityKernel  = 0
)

// maxPriority is the largest value of PRI: facility 23, level 7.
const maxPriority = 23<<3 | 7

// cutEnvelope takes a line apart. It is false where the form of the line is not known.
//
// Some parts may stand before any form: NUL bytes that a crash left, a byte order mark, the length that RFC 6587 puts
// before a message in a stream, and the priority in angle brackets.
func cutEnvelope(line []byte) (envelope, bool) {
	b := trimBlanks(bytes.TrimLeft(line, "\x00"))
	b = bytes.TrimPrefix(b, []byte(byteOrderMark))
	if n := countDigits(b); n > 0 && hasPrefix(b[n:], " <") {
		b = b[n+1:]
	}
	facility, b := cutPriority(b)
	env, ok := cutForm(b, facility)
	if facility > facilityKernel {
		env.kernel = false
	}
	return env, ok
}

const byteOrderMark = "\xef\xbb\xbf"

func cutForm(b []byte, facility int) (envelope, bool) {
	if len(b) == 0 {
		return envelope{}, false
	}
	if rest, ok := cutPrefix(b, "1 "); ok {
		return cutRFC5424(rest)
	}
	// What a form starts with tells most of them apart.
	switch c := b[0]; {
	case c == '[':
		return cutDmesg(b)
	case isDigit(c):
		if env, ok := cutKmsg(b); ok {
			return env, true
		}
	case c >= 'a' && c <= 'z':
		if env, ok := cutDecoded(b); ok {
			return env, true
		}
	}
	var at stampText
	if rest, ok := at.cut(b); ok {
		return cutStamped(&at, rest), true
	}
	// Without a time: what is written to the local log socket and to terminals, or, with a priority and no tag, dmesg -r
	// of a kernel that prints no times.
	var env envelope
	if env.cutTag(b) {
		return env, true
	}
	if facility == facilityUnknown {
		return envelope{}, false
	}
	env.kernel, env.msg = true, b
	return env, true
}

// cutPriority takes "<N>" off the front of b.
func cutPriority(b []byte) (facility int, rest []byte) {
	if len(b) == 0 || b[0] != '<' {
		return facilityUnknown, b
	}
	n := countDigits(b[1:])
	if n == 0 || n > 3 || len(b) < n+2 || b[n+1] != '>' {
		return facilityUnknown, b
	}
	priority := atoi(b[1 : n+1])
	if priority > maxPriority {
		return facilityUnknown, b
	}
	return priority >> 3, b[n+2:]
}

// cutStamped reads what follows a time: the host, if there is one, and the tag. A line of any other tag leaves msg
// empty and kernel false.
func cutStamped(at *stampText, rest []byte) envelope {
	env := envelope{stamp: at.stamp, comma: at.comma}
	if env.cutTag(rest) {
		return env
	}
	if host, after, ok := cutHost(rest); ok {
		env.host = host
		env.cutTag(after)
		if env.kernel || env.repeats > 0 {
			return env
		}
	}
	if env.comma {
		env.cutBare(rest)
	}
	return env
}

// cutBare takes rest for a kernel message without host and tag, as dmesg writes it behind an ISO time, if it is one of
// ours.
func (env *envelope) cutBare(rest []byte) {
	_, rest = cutCaller(rest)
	if _, ok := MatchMessage(rest); ok {
		env.kernel, env.host, env.msg = true, nil, rest
	}
}

// cutTag reads "kernel: MSG" with "kern.warn " before it where the daemon is BusyBox's or OpenWrt's, or "last message
// repeated N times". It is true where the line is at its tag here, be it the kernel's or another's.
func (env *envelope) cutTag(b []byte) bool {
	facility := facilityUnknown
	if f, rest, ok := cutFacility(b); ok {
		facility, b = f, rest
	}
	if msg, ok := cutPrefix(b, "kernel:"); ok {
		for len(msg) > 0 && (msg[0] == ' ' || msg[0] == '\t') {
			msg = msg[1:]
		}
		env.setMessage(msg)
		env.kernel = env.kernel && facility <= facilityKernel
		return true
	}
	if n, ok := cutLastRepeated(b); ok {
		env.repeats = n
		return true
	}
	return facility != facilityUnknown
}

// setMessage reads what follows the kernel's tag: the level that old klogds leave in ("<4>"), the time since boot, the
// caller (PRINTK_CALLER), and the message.
func (env *envelope) setMessage(b []byte) {
	facility, b := cutPriority(b)
	env.kernel = facility <= facilityKernel
	if mono, rest, ok := cutUptime(b); ok {
		env.mono, b = mono, rest
	}
	_, env.msg = cutCaller(b)
}

func cutLastRepeated(b []byte) (int, bool) {
	rest, ok := cutPrefix(b, "last message repeated ")
	if !ok {
		return 0, false
	}
	n, rest, ok := cutNumber(rest, maxRepeats)
	return int(n), ok && (string(rest) == " times" || string(rest) == " time")
}

// cutHost takes a host name off the front of b. What ends in a colon or holds brackets is a tag.
func cutHost(b []byte) (host, rest []byte, ok bool) {
	end := 0
	for ; end < len(b) && b[end] != ' '; end++ {
		switch b[end] {
		case '[', ']', '(', ')', '{', '}', '<', '>', '"', '\'', '=', ',', ';':
			return nil, b, false
		}
	}
	if end == 0 || end == len(b) || b[end-1] == ':' {
		return nil, b, false
	}
	return b[:end], bytes.TrimLeft(b[end:], " "), true
}

// cutFacility takes "kern.warn " off the front of b: a facility and a level by name. Only the kernel's facility has to
// be told from the others, all of which are 1 here.
func cutFacility(b []byte) (facility int, rest []byte, ok bool) {
	dot := 0
	for ; dot < len(b) && b[dot] != '.'; dot++ {
		if b[dot] == ' ' || dot == longestFacility {
			return 0, b, false
		}
	}
	if dot == len(b) {
		return 0, b, false
	}
	level, rest, _ := bytes.Cut(b[dot+1:], []byte(" "))
	name := b[:dot]
	switch {
	case !isLevel(level) || !isFacility(name):
		return 0, b, false
	case string(name) == "kern":
		return facilityKernel, bytes.TrimLeft(rest, " "), true
	}
	return 1, bytes.TrimLeft(rest, " "), true
}

func isLevel(word []byte) bool {
	switch string(word) {
	case "emerg", "panic", "alert", "crit", "err", "error", "warn", "warning", "notice", "info", "debug":
		return true
	}
	return false
}

// longestFacility is the length of the longest name of a facility.
const longestFacility = len("security")

func isFacility(word []byte) bool {
	if n, ok := cutPrefix(word, "local"); ok {
		return len(n) == 1 && n[0] >= '0' && n[0] <= '7'
	}
	switch string(word) {
	case "kern", "user", "mail", "daemon", "auth", "security", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
		"ftp", "ntp", "audit", "alert", "clock":
		return true
	}
	return false
}

// atoi is the value of a run of digits too short to overflow.
func atoi(digits []byte) int {
	n := 0
	for _, d := range digits {
		n = n*10 + int(d-'0')
	}
	return n
}
