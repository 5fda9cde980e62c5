package watcher

import (
	"bytes"
	"time"
)

// cutDmesg reads a line that starts with a bracket: dmesg's time since boot ("[   12.345678]"), its wall-clock time
// (-T), its readable time (-H: "[Nov20 22:30]", then "[  +0.000012]"), each with the time since the line before
// (-d: "<    0.000012>") or without, that alone (--time-format delta), or journalctl's short-monotonic ("[   12.345678] host kernel: ").
func cutDmesg(b []byte) (envelope, bool) {
	env := envelope{kernel: true}
	if mono, rest, ok := cutUptime(b); ok {
		env.mono = mono
		return env.cutMonotonic(rest), true
	}
	end := bytes.IndexByte(b, ']')
	if end < 0 {
		return envelope{}, false
	}
	inner, rest := cutDelta(b[1:end]), b[end+1:]
	var at stampText
	if after, ok := at.cut(inner); ok && len(after) == 0 {
		env.stamp = at.stamp
	} else if at, ok := readableStamp(inner); ok {
		env.stamp = at
	} else if !isOffset(inner) {
		return envelope{}, false
	}
	rest, ok := cutBlank(rest)
	_, env.msg = cutCaller(bytes.TrimLeft(rest, " "))
	return env, ok
}

// cutMonotonic reads what follows a time since boot: the caller, then the message, or journalctl's host and tag.
func (env envelope) cutMonotonic(rest []byte) envelope {
	_, env.msg = cutCaller(rest)
	host, after, ok := cutHost(env.msg)
	if !ok || !hasPrefix(after, "kernel: ") {
		return env
	}
	tagged := env
	tagged.host = host
	tagged.cutTag(after)
	tagged.mono = env.mono
	return tagged
}

// cutDelta takes the time since the line before off the end of what stands in dmesg's brackets.
func cutDelta(b []byte) []byte {
	if len(b) == 0 || b[len(b)-1] != '>' {
		return b
	}
	if i := bytes.LastIndex(b, []byte(" <")); i >= 0 {
		return bytes.TrimRight(b[:i], " ")
	}
	return b
}

// isOffset tells whether b is "+0.000012" or "<    0.000012>", the time since the line before it. Lines of several CPUs
// may have gone back a little.
func isOffset(b []byte) bool {
	b = bytes.TrimLeft(b, " ")
	if len(b) < 2 {
		return false
	}
	number := b[1:]
	switch b[0] {
	case '+', '-':
	case '<':
		number = bytes.TrimPrefix(bytes.TrimLeft(bytes.TrimSuffix(number, []byte(">")), " "), []byte("-"))
	default:
		return false
	}
	_, rest, decimal := cutSeconds(number)
	return decimal && len(rest) == 0 && (b[0] == '<') == (b[len(b)-1] == '>')
}

// readableStamp reads "Nov20 22:30" and "Nov 2 22:30".
func readableStamp(b []byte) (stamp, bool) {
	var at stamp
	month, rest, ok := cutMonth(b)
	if !ok {
		return stamp{}, false
	}
	at.month = month
	day, clock, ok := bytes.Cut(bytes.TrimLeft(rest, " "), []byte(" "))
	if n := countDigits(day); !ok || n == 0 || n > 2 || n != len(day) || len(clock) != 5 {
		return stamp{}, false
	}
	at.day = atoi(day)
	rest, ok = at.cutClock(append(bytes.Clone(clock), ":00"...))
	return at, ok && len(rest) == 0 && at.valid()
}

// cutUptime takes a time since boot and the blanks behind it off the front of b: "[20763743.334180] ". With
// PRINTK_CALLER another bracket may follow instead of the blank.
func cutUptime(b []byte) (mono time.Duration, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '[' {
		return 0, b, false
	}
	end := bytes.IndexByte(b, ']')
	if end < 0 {
		return 0, b, false
	}
	mono, after, ok := cutSeconds(bytes.TrimLeft(cutDelta(b[1:end]), " "))
	rest = b[end+1:]
	if !ok || len(after) > 0 || len(rest) == 0 || rest[0] != ' ' && rest[0] != '[' {
		return 0, b, false
	}
	return mono, bytes.TrimLeft(rest, " "), true
}

// maxUptimeDigits bounds the seconds of a time since boot: nine digits are thirty years.
const maxUptimeDigits = 9

// cutSeconds takes "SECONDS.FRACTION" off the front of b.
func cutSeconds(b []byte) (d time.Duration, rest []byte, ok bool) {
	whole := countDigits(b)
	if whole == 0 || whole > maxUptimeDigits || len(b) <= whole || b[whole] != '.' {
		return 0, b, false
	}
	nsec, rest, ok := cutFraction(b[whole+1:])
	return time.Duration(atoi(b[:whole]))*time.Second + time.Duration(nsec), rest, ok
}

// decimals is the worth of the last of so many decimals of a second, in nanoseconds.
var decimals = [...]int{1e9, 1e8, 1e7, 1e6, 1e5, 1e4, 1e3, 100, 10, 1}

// cutFraction takes up to nine decimals off the front of b, as nanoseconds.
func cutFraction(b []byte) (nsec int, rest []byte, ok bool) {
	n := countDigits(b)
	if n == 0 || n > 9 {
		return 0, b, false
	}
	return atoi(b[:n]) * decimals[n], b[n:], true
}

// cutCaller takes the caller that PRINTK_CALLER prints off the front of b: "[T92772] " for a task, "[   C0] " for a
// CPU.
func cutCaller(b []byte) (caller, rest []byte) {
	if len(b) == 0 || b[0] != '[' {
		return nil, b
	}
	end := bytes.IndexByte(b, ']')
	if end < 0 {
		return nil, b
	}
	inner := bytes.TrimLeft(b[1:end], " ")
	if len(inner) < 2 || inner[0] != 'T' && inner[0] != 'C' || countDigits(inner[1:]) != len(inner)-1 {
		return nil, b
	}
	rest, ok := cutBlank(b[end+1:])
	if !ok {
		return nil, b
	}
	return inner, bytes.TrimLeft(rest, " ")
}

// cutKmsg reads a record as /dev/kmsg gives it: "PRIORITY,SEQUENCE,MICROSECONDS,FLAGS[,…];MSG".
func cutKmsg(b []byte) (envelope, bool) {
	if n := countDigits(b); n == 0 || n > 3 || len(b) == n || b[n] != ',' {
		return envelope{}, false
	}
	head, msg, ok := bytes.Cut(b, []byte(";"))
	field := bytes.Split(head, []byte(","))
	if !ok || len(field) < 4 {
		return envelope{}, false
	}
	for _, number := range field[:3] {
		if n := countDigits(number); n == 0 || n != len(number) || n > 18 {
			return envelope{}, false
		}
	}
	if len(field[2]) > maxUptimeDigits+6 {
		return envelope{}, false
	}
	return envelope{
		kernel: atoi(field[0])>>3 == facilityKernel,
		mono:   time.Duration(atoi(field[2])) * time.Microsecond,
		msg:    msg,
	}, true
}

// cutDecoded reads a line of dmesg -x: "kern  :warn  : [   12.345678] MSG", or with --time-format iso.
func cutDecoded(b []byte) (envelope, bool) {
	facility, rest, ok := cutColumn(b)
	if !ok || !isFacility(facility) {
		return envelope{}, false
	}
	level, rest, ok := cutColumn(rest)
	if !ok || !isLevel(level) {
		return envelope{}, false
	}
	rest, ok = cutBlank(rest)
	if !ok {
		return envelope{}, false
	}
	var env envelope
	var at stampText
	if hasPrefix(rest, "[") {
		env, ok = cutDmesg(rest)
	} else if rest, ok = at.cut(rest); ok && at.comma {
		env = envelope{kernel: true, stamp: at.stamp}
		_, env.msg = cutCaller(rest)
	} else {
		return envelope{}, false
	}
	env.kernel = env.kernel && string(facility) == "kern"
	return env, ok
}

// cutColumn takes a padded word and its colon off the front of b.
func cutColumn(b []byte) (word, rest []byte, ok bool) {
	column, rest, ok := bytes.Cut(b, []byte(":"))
	if !ok || len(column) > 10 {
		return nil, b, false
	}
	return bytes.TrimRight(column, " "), rest, true
}
