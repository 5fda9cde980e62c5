package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const apache = "Apache-2.0"

// marks tell a license by a phrase that no other has. Those of BSD are told apart in identify.
var marks = []struct {
	name   string
	phrase *regexp.Regexp
}{
	{apache, regexp.MustCompile(`(?s)Apache License\s+Version 2\.0`)},
	{"BSD", regexp.MustCompile(`Redistribution and use in source and binary forms`)},
	{"Expat", regexp.MustCompile(`Permission is hereby granted, free of charge`)},
	{"ISC", regexp.MustCompile(`Permission to use, copy, modify, and(/or)? distribute this software for any purpose`)},
}

// identify names the licenses in a text; one that is not known is an error.
func identify(text string) ([]string, error) {
	var names []string
	for _, m := range marks {
		if !m.phrase.MatchString(text) {
			continue
		}
		name := m.name
		if name == "BSD" {
			name = "BSD-2-clause"
			if strings.Contains(text, "endorse or promote") {
				name = "BSD-3-clause"
			}
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		head, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
		return nil, fmt.Errorf("a license that is not known, beginning %q", head)
	}
	return names, nil
}

// holderLine is a line that says whose work it is.
var holderLine = regexp.MustCompile(`(?im)^[\s#/*©]*copyright[\s:]+(.*\S)\s*$`)

// holders are the copyright holders with their years, as the texts have them.
func holders(texts ...string) []string {
	var all []string
	for _, text := range texts {
		for _, m := range holderLine.FindAllStringSubmatch(text, -1) {
			who := strings.TrimSpace(regexp.MustCompile(`(?i)^(\(c\)|©)\s*`).ReplaceAllString(m[1], ""))
			who = strings.TrimSuffix(who, " All rights reserved.")
			if isHolder(who) && !slices.Contains(all, who) {
				all = append(all, who)
			}
		}
	}
	return all
}

// isHolder tells a holder from the prose of a license, which has lines that begin with the same word.
func isHolder(who string) bool {
	return regexp.MustCompile(`^(\d{4}|[A-Z][a-z]+ \S)`).MatchString(who) && !strings.Contains(who, "License")
}

// apacheText is the whole text of the Apache license, as it stands among others.
var apacheText = regexp.MustCompile(`(?s) +Apache License\n +Version 2\.0.*?limitations under the License\.\n?`)

// withoutApache leaves the text of the Apache license out, which Debian's policy does not want repeated.
func withoutApache(text string) string {
	return apacheText.ReplaceAllString(text, "(Here stands the Apache License, Version 2.0, see below.)\n")
}
