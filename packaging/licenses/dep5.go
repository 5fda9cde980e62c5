package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// header begins the file. The Files of the paragraphs are import paths: a package has programs, and no sources.
const header = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: ctwarden
Upstream-Contact: ctwarden developers <maintainers@ctwarden.io>
Source: https://github.com/ctwarden/ctwarden
Comment: The programs are linked from ctwarden's own sources, from Go's library
 and from the modules below. Files names them by import path, and each
 paragraph with the license file that lies there; below a path that has one of
 its own, that one holds.

Files: *
Copyright: 2026 The ctwarden authors
License: Apache-2.0

`

const apacheParagraph = `License: Apache-2.0
 Licensed under the Apache License, Version 2.0 (the "License"); you may not use
 this file except in compliance with the License. You may obtain a copy of the
 License at http://www.apache.org/licenses/LICENSE-2.0
 .
 Unless required by applicable law or agreed to in writing, software distributed
 under the License is distributed on an "AS IS" BASIS, WITHOUT WARRANTIES OR
 CONDITIONS OF ANY KIND, either express or implied. See the License for the
 specific language governing permissions and limitations under the License.
 .
 On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0,
 on others in the file LICENSE of this package.
`

// writeCopyright writes the whole file.
func writeCopyright(w io.Writer, works []work) error {
	var b strings.Builder
	b.WriteString(header)
	for _, one := range works {
		if err := writeWork(&b, one); err != nil {
			return err
		}
	}
	b.WriteString(apacheParagraph)
	_, err := io.WriteString(w, b.String())
	return err
}

// writeWork writes the paragraph of one work. The texts of licenses that have the holder's name in them stand in it, since
// no two are alike.
func writeWork(b *strings.Builder, w work) error {
	var names []string
	for _, text := range w.texts {
		found, err := identify(text)
		if err != nil {
			return fmt.Errorf("%s: %w", w.path, err)
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	who := holders(append(slices.Clone(w.texts), w.notice)...)
	if len(who) == 0 {
		who = []string{"The authors of " + w.path}
	}
	fmt.Fprintf(b, "Files: %s\n", pattern(w.path))
	fmt.Fprintf(b, "Copyright: %s\n", strings.Join(who, "\n "))
	fmt.Fprintf(b, "License: %s\n", strings.Join(names, " and "))
	if !slices.Equal(names, []string{apache}) {
		indent(b, withoutApache(strings.Join(w.texts, "\n")))
	}
	if w.notice != "" {
		b.WriteString("Comment: Its NOTICE file says:\n")
		indent(b, w.notice)
	}
	b.WriteString("\n")
	return nil
}

// pattern is a path as Files wants it, where a space parts patterns.
func pattern(path string) string {
	if strings.Contains(path, " ") {
		return "go/src/*"
	}
	return path + "/*"
}

// indent writes a text as the further lines of a field.
func indent(b *strings.Builder, text string) {
	empty := false
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		line = strings.TrimRight(line, " \t\r")
		if line == "" {
			empty = true
			continue
		}
		if empty {
			b.WriteString(" .\n")
			empty = false
		}
		b.WriteString(" " + strings.ReplaceAll(line, "\t", "    ") + "\n")
	}
}
