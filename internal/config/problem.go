package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Problem is one mistake in a file, or one warning about it.
type Problem struct {
	File string
	// Line counts from 1. Zero: the mistake has no line, such as a rule between keys that are not in the file.
	Line int
	// Key is the full path, such as "sources.syslog.files[1]". Empty: the file as a whole.
	Key string
	// Value is what the file says, in quotes where it is a text, shortened, with secrets hidden. Empty: not shown.
	Value string
	// Text says what is wrong and what is allowed.
	Text string
}

// String is the one line that an operator reads: file:line: key: value - text.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Key != "" {
		b.WriteString(": " + p.Key)
	}
	if p.Value != "" {
		b.WriteString(": " + p.Value)
	}
	if p.Key != "" || p.Value != "" {
		return b.String() + " - " + p.Text
	}
	return b.String() + ": " + p.Text
}

// Error is all that is wrong with one file. It has at least one problem, in the order of the file.
type Error struct {
	Problems []Problem

	cause error // why the file could not be read at all
}

// Unwrap is the reason why the file could not be read at all, such as [fs.ErrNotExist]; nil for its content.
func (e *Error) Unwrap() error { return e.cause }

// Error is one line for each problem.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Validator is a configuration struct with rules of its own. Validate is called once after decoding, for nested
// structs, list elements and map values too, with keys relative to the struct. It may also fill in derived values.
type Validator interface {
	Validate(p *Problems)
}

// Problems collects the findings of one struct's Validate.
type Problems struct {
	d      *decoder
	prefix string
}

// Add reports a mistake at key, a path relative to the struct such as "step" or "files[0]". Where loading has already
// found the key's value wrong, the finding is left out, since the value it rests on is not the file's.
func (p *Problems) Add(key, format string, args ...any) {
	full := join(p.prefix, key)
	if !p.d.failed[full] {
		p.d.add(full, fmt.Sprintf(format, args...))
	}
}

// OneOf reports value at key unless it is one of allowed.
func OneOf[T ~string](p *Problems, key string, value T, allowed ...T) {
	if slices.Contains(allowed, value) {
		return
	}
	words := make([]string, len(allowed))
	for i, a := range allowed {
		words[i] = string(a)
	}
	text := "must be " + listed(words, "or")
	if near := nearest(string(value), words); near != "" {
		text += fmt.Sprintf("; did you mean %s?", near)
	}
	p.Add(key, "%s", text)
}

func listed(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " " + last + " " + words[len(words)-1]
}

func join(prefix, key string) string {
	if prefix == "" || key == "" {
		return prefix + key
	}
	return prefix + "." + key
}

// hideUserinfo blots out what is secret in a value that is a mistake: the user and password of a URL, also where a slash
// in the password makes it none, and the seed of a key.
func hideUserinfo(value string) string {
	value = regexp.MustCompile(`([^\s":/]+:)(//)?[^\s"]*@`).ReplaceAllStringFunc(value, func(found string) string {
		if scheme, _, ok := strings.Cut(found, "://"); ok {
			return scheme + "://***@"
		}
		return "***@"
	})
	return regexp.MustCompile(`\bS[A-Z2-7]{50,}\b|\beyJ[\w.-]{20,}`).ReplaceAllString(value, "***")
}
