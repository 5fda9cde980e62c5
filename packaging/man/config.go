package main

import (
	"fmt"
	"regexp"
	"strings"
)

// configKey is a key of a configuration file.
type configKey struct {
	path   string   // such as sources.kmsg.enabled
	about  []string // the lines of its comment
	value  []string // its default as written, a list's items one by one; empty for a section
	indent int
}

// commented is a configuration file taken apart.
type commented struct {
	intro []string // the first block of comments
	keys  []configKey
}

// keyLine is a key with what stands behind it.
var keyLine = regexp.MustCompile(`^( *)([a-z_]+):(?: +(\S.*))?$`)

// parseConfig reads a YAML file of the shape that the shipped ones have: a block of comments on the whole, then keys with
// a comment above each, indented by two spaces a level, and lists of plain items.
func parseConfig(text string) (commented, error) {
	var c commented
	var pending []string
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "":
			if len(c.keys) == 0 && c.intro == nil {
				c.intro, pending = pending, nil
			}
		case strings.HasPrefix(trimmed, "#"):
			pending = append(pending, strings.TrimPrefix(strings.TrimPrefix(trimmed, "#"), " "))
		case strings.HasPrefix(trimmed, "- ") && len(c.keys) > 0:
			last := &c.keys[len(c.keys)-1]
			last.value = append(last.value, strings.TrimPrefix(trimmed, "- "))
		case keyLine.MatchString(line):
			c.keys = append(c.keys, newKey(c.keys, keyLine.FindStringSubmatch(line), pending))
			pending = nil
		default:
			return commented{}, fmt.Errorf("line %d is neither a comment, a key nor an item: %s", i+1, line)
		}
	}
	if len(c.intro) == 0 || len(c.keys) == 0 || len(pending) > 0 {
		return commented{}, fmt.Errorf("%d lines on the whole, %d keys and %d lines of comment on nothing", len(c.intro), len(c.keys), len(pending))
	}
	return c, nil
}

// newKey is the key of a line; before are those above it, the last less indented one of which it belongs to.
func newKey(before []configKey, match, about []string) configKey {
	k := configKey{path: match[2], about: about, indent: len(match[1])}
	if match[3] != "" {
		k.value = []string{match[3]}
	}
	for i := len(before) - 1; i >= 0; i-- {
		if before[i].indent < k.indent {
			k.path = before[i].path + "." + k.path
			break
		}
	}
	return k
}

// configPage is the manual page of a configuration file.
func configPage(about program, file string, e edition) (string, error) {
	c, err := parseConfig(file)
	if err != nil {
		return "", err
	}
	var r roff
	cfg := about.config
	r.head(cfg.page, 5, about.name, e)
	r.name(cfg.page, "configuration of "+strings.TrimSuffix(c.intro[0], "."))
	r.section("SYNOPSIS")
	fmt.Fprintln(&r, escape(cfg.path))
	r.description(c.intro[1:])
	r.request("PP")
	r.prose([]string{"The file is YAML. A dot in a key's name below stands for a level: the key sources.lookback is lookback below sources."})
	r.section("KEYS")
	for _, k := range c.keys {
		r.key(k)
	}
	r.literal("EXAMPLE", strings.Split(strings.TrimSuffix(cfg.example, "\n"), "\n"))
	r.entries("FILES", append([]entry{{cfg.path, "the file that is read where no other is named with --config"}}, cfg.files...))
	r.seeAlso([]string{about.name + "(1)", about.name + "-check-config(1)"})
	return r.String(), nil
}

// key is one key with its default and its comment, the paragraphs of which stay apart.
func (r *roff) key(k configKey) {
	r.request("TP")
	fmt.Fprintf(r, "\\fB%s\\fR\n", escape(k.path))
	all := paragraphs(k.about)
	if len(k.value) > 0 {
		all = append(all, []string{"Default: " + strings.Join(k.value, ", ")})
	}
	if len(all) == 0 {
		all = [][]string{{"A section, whose keys follow."}}
	}
	for i, p := range all {
		if i > 0 {
			r.request("IP")
		}
		r.prose(p)
	}
}
