package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/replay"
)

func TestTerminal(t *testing.T) {
	for in, want := range map[string]string{
		"20000 → 40000\tü\n": "20000 → 40000\tü\n", "\x1b[31mred\x1b[0m\r": "?[31mred?[0m?", "a\x00b\x7fc\a": "a?b?c?",
		"csi \u009b31m": "csi \u00a031m",
	} {
		for _, size := range []int{1, 2, 100} { // however it is cut
			var out bytes.Buffer
			w := &terminal{w: &out}
			for rest := []byte(in); len(rest) > 0; rest = rest[min(size, len(rest)):] {
				if n, err := w.Write(rest[:min(size, len(rest))]); n == 0 || err != nil {
					t.Fatal(n, err)
				}
			}
			if out.String() != want {
				t.Errorf("%q in pieces of %d became %q, want %q", in, size, &out, want)
			}
		}
	}
}

// FuzzStatus: whatever answers on the control socket, the status can be shown, in all its forms, and gives the terminal
// no orders.
func FuzzStatus(f *testing.F) {
	for _, st := range []agent.Status{busy(), {}, {Host: "\x1b[2J", NetNS: []agent.NetNSStatus{{}, {}}}} {
		seed, err := json.Marshal(st)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Add([]byte(`{"running":true,"at":"9999-12-31T23:59:59Z","netns":[{"time_to_full_s":1e308,"count":18446744073709551615}],"sources":[{"lag_seconds":-1e308}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var st agent.Status
		if json.Unmarshal(data, &st) != nil {
			return
		}
		for _, namespaces := range []bool{false, true} {
			var out bytes.Buffer
			if err := printStatus(stdio{out: &out, err: &out}, output{}, st, namespaces); err != nil {
				t.Fatalf("%s: %v", data, err)
			}
			checkPlain(t, out.String())
		}
		if err := printStatus(stdio{out: &bytes.Buffer{}}, output{format: "json"}, st, false); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
	})
}

func checkPlain(t *testing.T, text string) {
	t.Helper()
	if i := strings.IndexFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }); i >= 0 {
		t.Fatalf("%q is no text", text[i:])
	}
}

// TestReplayIsPlain has a host of a log file that is no name.
func TestReplayIsPlain(t *testing.T) {
	var out bytes.Buffer
	report := replay.Report{Incidents: []replay.Incident{{Host: "h\x1b]0;x\a"}}, Sources: []replay.Source{{Path: "a\x1b[2J"}}}
	if err := (&replayFlags{}).print(stdio{out: &out}, report); err != nil {
		t.Fatal(err)
	}
	checkPlain(t, out.String())
}
