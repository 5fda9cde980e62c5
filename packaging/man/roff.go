package main

import (
	"fmt"
	"strings"
)

// roff is a manual page as it is written. Its zero value is empty.
type roff struct{ strings.Builder }

// request writes a line that begins with a dot.
func (r *roff) request(format string, args ...any) {
	fmt.Fprintf(r, "."+format+"\n", args...)
}

func (r *roff) head(title string, section int, source string, e edition) {
	r.request(`TH "%s" "%d" "%s" "%s %s" "ctwarden manual"`, escape(strings.ToUpper(title)), section, e.date, escape(source), escape(e.version))
}

func (r *roff) section(title string) { r.request("SH %s", title) }

// name is the section that indexes of manual pages are made of: one line.
func (r *roff) name(title, summary string) {
	r.section("NAME")
	fmt.Fprintf(r, "%s \\- %s\n", escape(title), text(lowerFirst(summary)))
}

func (r *roff) synopsis(usage []string) {
	r.section("SYNOPSIS")
	for i, line := range usage {
		if i > 0 {
			r.request("br")
		}
		name, rest, _ := strings.Cut(line, " ")
		fmt.Fprintf(r, "\\fB%s\\fR %s\n", escape(name), escape(rest))
	}
}

// description is prose without the exit codes.
func (r *roff) description(lines []string) {
	r.section("DESCRIPTION")
	for i, p := range paragraphs(lines) {
		if isExitStatus(p) {
			continue
		}
		if i > 0 {
			r.request("PP")
		}
		r.prose(p)
	}
}

func (r *roff) exitStatus(lines []string) {
	for _, p := range paragraphs(lines) {
		if isExitStatus(p) {
			r.section("EXIT STATUS")
			r.prose(p)
		}
	}
}

// prose fills the lines of a paragraph; those that are indented stay as they are.
func (r *roff) prose(lines []string) {
	kept := false
	for _, line := range lines {
		if indented := strings.HasPrefix(line, " "); indented != kept {
			kept = indented
			if kept {
				r.request("nf")
			} else {
				r.request("fi")
			}
		}
		if kept {
			fmt.Fprintln(r, literal(line))
		} else {
			fmt.Fprintln(r, text(line))
		}
	}
	if kept {
		r.request("fi")
	}
}

// entries is a section of names with their meanings; nothing where there are none.
func (r *roff) entries(title string, entries []entry) {
	if len(entries) == 0 {
		return
	}
	r.section(title)
	for _, e := range entries {
		r.item(e.name, e.text)
	}
}

func (r *roff) item(name, meaning string) {
	r.request("TP")
	fmt.Fprintf(r, "\\fB%s\\fR\n%s\n", escape(name), text(meaning))
}

// literal is a section of lines that stay as they are; nothing where there are none.
func (r *roff) literal(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	r.section(title)
	r.request("nf")
	for _, line := range lines {
		fmt.Fprintln(r, literal(line))
	}
	r.request("fi")
}

// seeAlso lists pages, each as "name(section)".
func (r *roff) seeAlso(pages []string) {
	r.section("SEE ALSO")
	for i, page := range pages {
		name, section, _ := strings.Cut(page, "(")
		comma := ","
		if i == len(pages)-1 {
			comma = ""
		}
		r.request(`BR %s (%s%s`, escape(name), section, comma)
	}
}

// escape makes text stand for itself: a backslash, and hyphens, which are to be copied as they are typed.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\e`, `-`, `\-`, `"`, `\(dq`).Replace(s)
}

// literal is escape for a whole line, whose beginning might be a request.
func literal(line string) string { return guard(escape(line)) }

// text is a line of prose. Only hyphens of what is typed, such as --config, are to be copied; in words they stay.
func text(line string) string {
	words := strings.Split(line, " ")
	for i, w := range words {
		typed := strings.Contains(w, "--") || strings.HasPrefix(strings.TrimLeft(w, `"'(`), "-")
		if w = strings.ReplaceAll(w, `\`, `\e`); typed {
			w = strings.ReplaceAll(w, "-", `\-`)
		}
		words[i] = w
	}
	return guard(strings.Join(words, " "))
}

// guard keeps a line from being taken for a request.
func guard(line string) string {
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		return `\&` + line
	}
	return line
}

// lowerFirst begins a sentence in lower case, as the line after a page's name does, unless a name stands there.
func lowerFirst(s string) string {
	if len(s) < 2 || s[1] < 'a' || s[1] > 'z' {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
