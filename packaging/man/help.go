package main

import (
	"fmt"
	"strings"
)

// help is what a command says of itself with --help.
type help struct {
	about    []string // lines, as printed
	usage    []string
	examples []string // lines, without the indent that all have
	commands []entry
	options  []entry
}

// parseHelp takes apart what cobra prints for --help. A heading that it does not know is an error, so that nothing a
// command says is left out of its page.
func parseHelp(text string) (help, error) {
	var h help
	heading := ""
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if title, ok := headingOf(line, heading); ok {
			heading = title
			continue
		}
		if err := h.add(heading, line); err != nil {
			return help{}, err
		}
	}
	if len(h.usage) == 0 {
		return help{}, fmt.Errorf("no usage in %q", text)
	}
	h.about, h.examples = trimmed(h.about), trimmed(h.examples)
	return h, nil
}

// headingOf is the title of a line that begins a section. Everything before the first, which is the usage, is prose.
func headingOf(line, current string) (string, bool) {
	title, ok := strings.CutSuffix(line, ":")
	if !ok || strings.HasPrefix(line, " ") || current == "" && title != "Usage" {
		return "", false
	}
	return title, true
}

func (h *help) add(heading, line string) error {
	body := strings.TrimSpace(line)
	switch heading {
	case "":
		h.about = append(h.about, line)
	case "Examples":
		h.examples = append(h.examples, strings.TrimPrefix(line, "  "))
	case "Usage", "Available Commands", "Flags", "Global Flags":
		if body == "" || strings.HasPrefix(body, "Use \"") { // the closing hint at the commands' own help
			return nil
		}
		h.addEntry(heading, body)
	default:
		return fmt.Errorf("a section %q, which the manual page has no place for", heading)
	}
	return nil
}

func (h *help) addEntry(heading, body string) {
	switch heading {
	case "Usage":
		h.usage = append(h.usage, body)
	case "Available Commands":
		name, text, _ := strings.Cut(body, " ")
		h.commands = append(h.commands, entry{name, strings.TrimSpace(text)})
	default:
		if !strings.HasPrefix(body, "-") && len(h.options) > 0 { // the second line of an option's text
			last := &h.options[len(h.options)-1]
			last.text += " " + body
			return
		}
		name, text, _ := strings.Cut(body, "   ") // three spaces at least stand before the text
		h.options = append(h.options, entry{name, strings.TrimSpace(text)})
	}
}

// trimmed is lines without empty ones at the ends.
func trimmed(lines []string) []string {
	for len(lines) > 0 && strings.TrimSpace(lines[0]) == "" {
		lines = lines[1:]
	}
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}
