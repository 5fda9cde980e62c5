package main

import (
	"reflect"
	"strings"
	"testing"
)

const sampleHelp = `Takes a step by hand.

Exit code 0: done; 1: refused.

Usage:
  ctwarden raise --to N [flags]

Examples:
  ctwarden raise --to 262144
    --config x

Flags:
      --config file   configuration file
  -h, --help          help for raise
      --to entries    the new limit,
                      in entries

Global Flags:
      --quiet   say less
`

func TestParseHelp(t *testing.T) {
	got, err := parseHelp(sampleHelp)
	if err != nil {
		t.Fatal(err)
	}
	want := help{
		about:    []string{"Takes a step by hand.", "", "Exit code 0: done; 1: refused."},
		usage:    []string{"ctwarden raise --to N [flags]"},
		examples: []string{"ctwarden raise --to 262144", "  --config x"},
		options: []entry{
			{"--config file", "configuration file"}, {"-h, --help", "help for raise"},
			{"--to entries", "the new limit, in entries"}, {"--quiet", "say less"},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("parsed\n%+v\nwant\n%+v", got, want)
	}
}

func TestParseHelpOfRoot(t *testing.T) {
	got, err := parseHelp("Does it.\n\nUsage:\n  x [command]\n\nAvailable Commands:\n  run Run the agent\n  hold   Stop\n\n" +
		"Use \"x [command] --help\" for more information about a command.\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := []entry{{"run", "Run the agent"}, {"hold", "Stop"}}; !reflect.DeepEqual(got.commands, want) {
		t.Errorf("commands %v, want %v", got.commands, want)
	}
}

func TestParseHelpRefuses(t *testing.T) {
	for _, c := range []struct{ name, text, say string }{
		{"a section unknown here", "X.\n\nUsage:\n  x\n\nAliases:\n  y\n", "Aliases"},
		{"no usage", "X.\n", "no usage"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := parseHelp(c.text); err == nil || !strings.Contains(err.Error(), c.say) {
				t.Errorf("error %v, want one that says %q", err, c.say)
			}
		})
	}
}
