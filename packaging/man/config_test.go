package main

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

func TestParseConfig(t *testing.T) {
	got, err := parseConfig("# x: a thing.\n#\n# More.\n\n# One.\nmode: observe\n\n# Two:\n#   a  first\nsources:\n  # How far.\n  lookback: 10m\n  kmsg:\n    enabled: auto\n" +
		"  files:\n    - /a\n    - /b\nsite: \"\"\n")
	if err != nil {
		t.Fatal(err)
	}
	want := commented{
		intro: []string{"x: a thing.", "", "More."},
		keys: []configKey{
			{path: "mode", about: []string{"One."}, value: []string{"observe"}},
			{path: "sources", about: []string{"Two:", "  a  first"}},
			{path: "sources.lookback", about: []string{"How far."}, value: []string{"10m"}, indent: 2},
			{path: "sources.kmsg", indent: 2},
			{path: "sources.kmsg.enabled", value: []string{"auto"}, indent: 4},
			{path: "sources.files", value: []string{"/a", "/b"}, indent: 2},
			{path: "site", value: []string{`""`}},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("parsed\n%+v\nwant\n%+v", got, want)
	}
}

func TestParseConfigRefuses(t *testing.T) {
	for _, c := range []struct{ name, text string }{
		{"no introduction", "mode: x\n"},
		{"a line of another shape", "# x.\n\nmode: x\n? y\n"},
		{"a comment on nothing", "# x.\n\nmode: x\n# end\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := parseConfig(c.text); err == nil {
				t.Errorf("taken as %+v", got)
			}
		})
	}
}

// TestConfigPageNamesEveryKey holds the pages to the shipped files: each key that YAML sees there is on the page, with
// its value.
func TestConfigPageNamesEveryKey(t *testing.T) {
	for _, c := range []struct{ program, file string }{{"ctwarden", "../ctwarden.yaml"}, {"ctwarden-hub", "../hub.yaml"}} {
		t.Run(c.program, func(t *testing.T) {
			file, err := os.ReadFile(c.file)
			if err != nil {
				t.Fatal(err)
			}
			page, err := configPage(programs[c.program], string(file), edition{"1.2.3", "2026-01-02"})
			if err != nil {
				t.Fatal(err)
			}
			var tree map[string]any
			if err := yaml.Unmarshal(file, &tree); err != nil {
				t.Fatal(err)
			}
			paths := keyPaths("", tree)
			if len(paths) < 10 {
				t.Fatalf("only %d keys", len(paths))
			}
			for _, path := range paths {
				if !strings.Contains(page, "\\fB"+escape(path)+"\\fR\n") {
					t.Errorf("%s is not on the page", path)
				}
			}
		})
	}
}

func keyPaths(prefix string, tree map[string]any) []string {
	var all []string
	for name, value := range tree {
		all = append(all, prefix+name)
		if below, ok := value.(map[string]any); ok {
			all = append(all, keyPaths(prefix+name+".", below)...)
		}
	}
	return all
}
