package sysctld

import (
	"bytes"
	"path"
	"strconv"
	"strings"
)

// Setting is one line of a file.
type Setting struct {
	// File is the file's path below the root, Line counts from 1.
	File string `json:"file"`
	Line int    `json:"line"`
	// Key is the setting's name with dots as separators, in an answer always the name that was asked for.
	Key string `json:"key"`
	// Glob is the pattern that the line has in place of a key; empty where it names the key.
	Glob string `json:"glob,omitempty"`
	// Value is as written, without blanks around it. A loader that writes it may still be refused by the kernel.
	Value string `json:"value"`
	// Ignore is true for a line with a leading "-", whose failure is no failure.
	Ignore bool `json:"ignore,omitempty"`
	// bare is true for "-key" without a value, which excludes the key from globs.
	bare bool
	// rooted is true for a key that begins with a separator, which procps and the older systemd do not take off before they
	// compare keys.
	rooted bool
}

// Number is what the kernel makes of the value for an unsigned integer, and false where it would refuse the write.
// As in its proc_douintvec, a number may be octal or hexadecimal, and what stands behind a blank is not looked at.
func (s Setting) Number() (uint64, bool) {
	word := strings.TrimLeft(s.Value, " \t\n")
	if i := strings.IndexAny(word, " \t\n"); i >= 0 {
		word = word[:i]
	}
	prefix := strings.ToLower(word[:min(2, len(word))])
	if prefix == "0b" || prefix == "0o" || strings.Contains(word, "_") {
		return 0, false // Go's notations, not the kernel's
	}
	n, err := strconv.ParseUint(word, 0, 64)
	return n, err == nil
}

// lines cuts a file as the loader does. systemd ends a line at a newline, a NUL or, from 240 on, a carriage return (which
// the older one, too, takes off the end of a line); procps at a newline, and does not see what follows a NUL.
func lines(data []byte, l Loader) [][]byte {
	if !l.systemd() {
		out := bytes.Split(data, []byte("\n"))
		for i := range out {
			out[i], _, _ = bytes.Cut(out[i], []byte{0})
		}
		return out
	}
	if l == Systemd {
		data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
		data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
	}
	data = bytes.ReplaceAll(data, []byte{0}, []byte("\n"))
	return bytes.Split(data, []byte("\n"))
}

// blank is what is taken off the ends of a line.
func (l Loader) blank() string {
	if l.systemd() {
		return " \t\r\n"
	}
	return " \t\r\n\v\f"
}

// parse reads the settings of a file. File is left empty.
func parse(data []byte, l Loader) ([]Setting, []Problem) {
	var out []Setting
	var bad []Problem
	for i, raw := range lines(data, l) {
		line := strings.Trim(string(raw), l.blank())
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		s, ok := parseLine(line, l)
		s.Line = i + 1
		if ok {
			out = append(out, s)
		} else {
			bad = append(bad, Problem{Line: i + 1, Text: "not an assignment: " + strconv.Quote(clip(line))})
		}
	}
	return out, bad
}

// parseLine reads one line that is neither empty nor a comment.
func parseLine(line string, l Loader) (Setting, bool) {
	if l.old() {
		return parseOld(line)
	}
	key, value, assigned := strings.Cut(line, "=")
	name, ignore := strings.CutPrefix(strings.Trim(key, l.blank()), "-")
	if l == Systemd {
		name = strings.Trim(name, l.blank())
	}
	if !assigned && (!ignore || l == Systemd244) || name == "" {
		return Setting{}, false
	}
	return Setting{
		Key: normalize(name), Value: strings.Trim(value, l.blank()), Ignore: ignore, bare: !assigned,
		rooted: l != Systemd && strings.ContainsRune("/.", rune(name[0])),
	}, true
}

// parseOld reads a line as procps 3 does: it passes over "=" at the beginning, knows no key without a value, and ends a
// value at a carriage return.
func parseOld(line string) (Setting, bool) {
	key, value, _ := strings.Cut(strings.TrimLeft(line, "="), "=")
	name, ignore := strings.CutPrefix(strings.Trim(key, Procps3.blank()), "-")
	value, _, _ = strings.Cut(strings.TrimLeft(value, "\r"), "\r")
	if name == "" || value == "" {
		return Setting{}, false
	}
	return Setting{Key: normalize(name), Value: strings.TrimLeft(value, " \t"), Ignore: ignore}, true
}

// clip keeps a damaged line from filling a report.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// normalize turns a key into its path below /proc/sys.
func normalize(key string) string {
	if i := strings.IndexAny(key, "/."); i >= 0 && key[i] == '.' {
		key = swap(key)
	}
	return strings.TrimPrefix(path.Clean("/"+key), "/")
}

// dotted turns a path below /proc/sys into the usual name.
func dotted(p string) string { return swap(p) }

// swap exchanges dots and slashes.
func swap(s string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, s)
}
