package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// unpaged are the commands that cobra adds, whose help is enough.
var unpaged = []string{"help", "completion"}

// commandPages has a page for the program and one for each of its commands, by the page's file name.
func commandPages(about program, binary string, e edition) (map[string]string, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	root, err := ask(binary)
	if err != nil {
		return nil, err
	}
	root.commands = slices.DeleteFunc(root.commands, func(c entry) bool { return slices.Contains(unpaged, c.name) })
	pages := map[string]string{about.name + ".1": rootPage(about, root, e)}
	for _, c := range root.commands {
		h, err := ask(binary, c.name)
		if err != nil {
			return nil, err
		}
		if len(h.commands) > 0 {
			return nil, fmt.Errorf("%s %s has commands of its own, for which there are no pages yet", about.name, c.name)
		}
		pages[about.name+"-"+c.name+".1"] = subPage(about, c, h, e)
	}
	return pages, nil
}

// ask runs the program for one command's help.
func ask(binary string, command ...string) (help, error) {
	out, err := exec.Command(binary, append(command, "--help")...).Output()
	if err != nil {
		return help{}, fmt.Errorf("%s %s --help: %w", binary, strings.Join(command, " "), err)
	}
	h, err := parseHelp(string(out))
	if err != nil {
		return help{}, fmt.Errorf("%s %s --help: %w", binary, strings.Join(command, " "), err)
	}
	return h, nil
}

func rootPage(about program, h help, e edition) string {
	var r roff
	r.head(about.name, 1, about.name, e)
	r.name(about.name, about.summary)
	r.synopsis(h.usage)
	r.description(h.about)
	r.section("COMMANDS")
	for _, c := range h.commands {
		r.item(c.name, c.text+". See "+about.name+"-"+c.name+"(1).")
	}
	r.entries("OPTIONS", h.options)
	r.exitStatus(h.about)
	r.literal("EXAMPLES", h.examples)
	r.entries("FILES", about.files)
	also := []string{about.config.page + "(5)"}
	for _, c := range h.commands {
		also = append(also, about.name+"-"+c.name+"(1)")
	}
	r.seeAlso(append(also, about.seeAlso...))
	return r.String()
}

func subPage(about program, c entry, h help, e edition) string {
	var r roff
	title := about.name + "-" + c.name
	r.head(title, 1, about.name, e)
	r.name(title, c.text)
	r.synopsis(h.usage)
	r.description(h.about)
	r.entries("OPTIONS", h.options)
	r.exitStatus(h.about)
	r.literal("EXAMPLES", h.examples)
	r.seeAlso([]string{about.name + "(1)", about.config.page + "(5)"})
	return r.String()
}

// paragraphs splits lines where one is empty.
func paragraphs(lines []string) [][]string {
	var all [][]string
	var one []string
	for _, line := range append(slices.Clone(lines), "") {
		switch {
		case strings.TrimSpace(line) != "":
			one = append(one, line)
		case len(one) > 0:
			all, one = append(all, one), nil
		}
	}
	return all
}

// isExitStatus tells the paragraph of exit codes, which has a section of its own in a manual page.
func isExitStatus(paragraph []string) bool {
	return strings.HasPrefix(paragraph[0], "Exit code")
}
