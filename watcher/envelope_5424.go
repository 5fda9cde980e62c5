package watcher

import "bytes"

// cutRFC5424 reads a line of RFC 5424 from behind its version: TIME HOST APP PROCID MSGID DATA MSG, each "-" where it is
// not known. The kernel is the application "kernel" without a process.
func cutRFC5424(b []byte) (envelope, bool) {
	var field [5][]byte
	for i := range field {
		var ok bool
		if field[i], b, ok = bytes.Cut(b, []byte(" ")); !ok || len(field[i]) == 0 {
			return envelope{}, false
		}
	}
	at, host, app, process := field[0], field[1], field[2], field[3]
	var env envelope
	if string(at) != "-" {
		var when stampText
		rest, ok := when.cutISO(at)
		if !ok || len(rest) > 0 {
			return envelope{}, false
		}
		env.stamp = when.stamp
	}
	if string(host) != "-" {
		env.host = host
	}
	msg, ok := cutData(b)
	if !ok {
		return envelope{}, false
	}
	if string(app) == "kernel" && string(process) == "-" {
		env.setMessage(bytes.TrimLeft(bytes.TrimPrefix(msg, []byte(byteOrderMark)), " "))
	}
	return env, true
}

// cutData takes the structured data off the front of b: "-", or elements in brackets with quoted values in which a
// backslash escapes. What follows is the message.
func cutData(b []byte) (msg []byte, ok bool) {
	if rest, ok := cutPrefix(b, "-"); ok {
		return cutBlank(rest)
	}
	elements := 0
	for len(b) > 0 && b[0] == '[' {
		n := elementLen(b)
		if n == 0 {
			return nil, false
		}
		b = b[n:]
		elements++
	}
	if elements == 0 {
		return nil, false
	}
	return cutBlank(b)
}

// cutBlank takes the one blank that must stand before a message; there may be no message at all.
func cutBlank(b []byte) ([]byte, bool) {
	if len(b) == 0 {
		return b, true
	}
	return b[1:], b[0] == ' '
}

// elementLen is the length of the element of structured data that b starts with; 0 where it does not end.
func elementLen(b []byte) int {
	quoted := false
	for i := 1; i < len(b); i++ {
		switch {
		case b[i] == '"':
			quoted = !quoted
		case b[i] == '\\' && quoted:
			i++
		case b[i] == ']' && !quoted:
			return i + 1
		}
	}
	return 0
}
