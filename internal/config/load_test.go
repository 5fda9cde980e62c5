package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/config"
)

type sample struct {
	Name   string            `yaml:"name"`
	Count  int               `yaml:"count"`
	Limit  uint64            `yaml:"limit"`
	Step   float64           `yaml:"step"`
	On     bool              `yaml:"on"`
	Window time.Duration     `yaml:"window"`
	Max    config.Size       `yaml:"max"`
	Kmsg   config.Auto       `yaml:"kmsg"`
	Files  []string          `yaml:"files"`
	Nested nested            `yaml:"nested"`
	Routes []route           `yaml:"routes"`
	Labels map[string]string `yaml:"labels"`
	TLS    *tls              `yaml:"tls"`
	Token  string            `yaml:"token" config:"secret"`
}

type nested struct {
	Mode string  `yaml:"mode"`
	Low  float64 `yaml:"low"`
	High float64 `yaml:"high"`
}

type route struct {
	To string `yaml:"to"`
}

type tls struct {
	CA string `yaml:"ca"`
}

func (n *nested) Validate(p *config.Problems) {
	config.OneOf(p, "mode", n.Mode, "observe", "remediate")
	if n.Low > n.High {
		p.Add("low", "must be at most high (%g)", n.High)
	}
}

func (r *route) Validate(p *config.Problems) {
	if r.To == "" {
		p.Add("to", "is missing; name a receiver")
	}
}

func defaults() sample {
	return sample{Name: "n", Count: 1, Window: time.Minute, Kmsg: config.AutoDetect, Files: []string{"a"},
		Nested: nested{Mode: "observe", High: 1}}
}

func TestDecodeValues(t *testing.T) {
	tests := []struct {
		name string
		text string
		want func(*sample)
	}{
		{"empty", "", func(s *sample) {}},
		{"comments only", "# nothing\n---\n", func(s *sample) {}},
		{"null sections keep the defaults", "nested:\nfiles:\nlabels:\n", func(s *sample) {}},
		{"every kind", `
name: web
count: -3
limit: 18446744073709551615
step: 2
on: true
window: 1h30m
max: 10MiB
kmsg: false
files: [x, "y z"]
nested: {mode: remediate, low: 0.25, high: 0.5}
routes: [{to: ops}]
labels: {zone: gva}
tls: {ca: /ca.pem}
token: s3cret
`, func(s *sample) {
			*s = sample{Name: "web", Count: -3, Limit: 1<<64 - 1, Step: 2, On: true, Window: 90 * time.Minute, Max: 10 << 20,
				Kmsg: config.AutoFalse, Files: []string{"x", "y z"}, Nested: nested{"remediate", 0.25, 0.5},
				Routes: []route{{"ops"}}, Labels: map[string]string{"zone": "gva"}, TLS: &tls{"/ca.pem"}, Token: "s3cret"}
		}},
		{"a plain 0 is a duration", "window: 0", func(s *sample) { s.Window = 0 }},
		{"a number may be a name", "name: 007", func(s *sample) { s.Name = "007" }},
		{"the empty list replaces", "files: []", func(s *sample) { s.Files = []string{} }},
		{"one nested key leaves its neighbours", "nested: {low: 1}", func(s *sample) { s.Nested.Low = 1 }},
		{"carriage returns", "count: 2\r\nname: b\r\n", func(s *sample) { s.Count, s.Name = 2, "b" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, want := defaults(), defaults()
			tt.want(&want)
			if _, err := config.Decode("f", []byte(tt.text), &got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestDecodeProblems(t *testing.T) {
	tests := []struct {
		name string
		text string
		want []string
	}{
		{"unknown key, near", "nmae: x", []string{`f:1: nmae: "x" - unknown key; did you mean name?`}},
		{"unknown key of another section", "\nmode: x", []string{`f:2: mode: "x" - unknown key here; did you mean nested.mode?`}},
		{"unknown key, far", "nested:\n  zzz: 1", []string{"f:2: nested.zzz: 1 - unknown key; allowed: mode, low, high"}},
		{"twice", "count: 1\ncount: 2", []string{"f:2: count: 2 - the key is already set in line 1; remove one of the two"}},
		{"wrong types", "count: x\nlimit: -1\nstep: '2'\non: yes\nname: true\nfiles: a\nnested: 3\nlabels: []\nroutes: [1]", []string{
			`f:1: count: "x" - is of the wrong type; must be a whole number in plain digits`,
			`f:2: limit: -1 - is out of range; must be a whole number in plain digits, not negative`,
			`f:3: step: "2" - is of the wrong type; must be a number`,
			`f:4: on: "yes" - is of the wrong type; must be true or false`,
			`f:5: name: true - is read as a truth value; put it in quotes; must be a text`,
			`f:6: files: "a" - must be a list, such as [a, b]; [] is the empty list`,
			`f:7: nested: 3 - must be a section with keys: mode, low, high`,
			`f:8: labels: (a list) - must be a section, one name: value in each line`,
			`f:9: routes[0]: 1 - must be a section with keys: to`,
			`f:9: routes[0].to - is missing; name a receiver`,
		}},
		{"numbers", "count: 1e3\nlimit: 0x10\nstep: .inf\nmax: 512k", []string{
			"f:1: count: 1e3 - is of the wrong type; must be a whole number in plain digits",
			"f:2: limit: 0x10 - is of the wrong type; must be a whole number in plain digits, not negative",
			"f:3: step: .inf - is of the wrong type; must be a number",
			`f:4: max: "512k" - is not a size; must be a size such as 65536, 64KiB, 10MiB or 1GiB`,
		}},
		{"too large and octal", "limit: 18446744073709551616\ncount: 010", []string{
			"f:1: limit: 18446744073709551616 - is out of range; must be a whole number in plain digits, not negative",
			"f:2: count: 010 - has a leading zero; must be a whole number in plain digits",
		}},
		{"durations", "window: 5", []string{"f:1: window: 5 - is not a duration; must be a duration such as 500ms, 30s, 10m or 24h, or 0"}},
		{"no value", "count:", []string{"f:1: count - has no value; give a whole number in plain digits, or remove the key for its default"}},
		{"auto", "kmsg: on", []string{`f:1: kmsg: "on" - is of the wrong type; must be auto, true or false`}},
		{"hooks", "nested:\n  mode: observ\n  low: 3", []string{
			`f:2: nested.mode: "observ" - must be observe or remediate; did you mean observe?`,
			`f:3: nested.low: 3 - must be at most high (1)`,
		}},
		{"a hook does not repeat the decoder", "nested: {low: x, high: -1}", []string{
			`f:1: nested.low: "x" - is of the wrong type; must be a number`,
		}},
		{"secrets stay hidden without a scheme", "files: 'me:hunter2@h'", []string{`f:1: files: "***@h" - must be a list, such as [a, b]; [] is the empty list`}},
		{"secrets stay hidden behind a slash", "files: 'nats://me:hun/ter2@h'", []string{
			`f:1: files: "nats://***@h" - must be a list, such as [a, b]; [] is the empty list`}},
		{"a seed stays hidden", "files: SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY", []string{
			`f:1: files: "***" - must be a list, such as [a, b]; [] is the empty list`}},
		{"secrets stay hidden", "token: [hunter2]\nname: 'nats://me:hunter2@h'\nfiles: nats://me:hunter2@h", []string{
			`f:1: token: (hidden) - must be a text`,
			`f:3: files: "nats://***@h" - must be a list, such as [a, b]; [] is the empty list`,
		}},
		{"a misspelt secret stays hidden", "tokn: hunter2\npasswd: hunter3", []string{
			"f:1: tokn: (hidden) - unknown key; did you mean token?",
			"f:2: passwd: (hidden) - unknown key; allowed: name, count, limit, step, on, window, max, kmsg, files, nested, routes, labels, tls, token",
		}},
		{"aliases", "name: &a x\ntoken: *a", []string{
			`f:1: name: "x" - anchors and aliases are not supported; write the value out`,
			"f:2: token: (hidden) - anchors and aliases are not supported; write the value out",
		}},
		{"a list at the top", "- a", []string{"f:1: (a list) - must be a section with keys: name, count, limit, step, on, window, max, kmsg, files, nested, routes, labels, tls, token"}},
		{"two documents", "count: 1\n---\ncount: 2", []string{"f:2: a second document begins here; the file must have only one"}},
		{"a key that is no word", "? [a]\n: b", []string{"f:1: a key must be a plain word"}},
		{"syntax", "files: [a\nname: b", []string{"f:2: not valid YAML: did not find expected ',' or ']' (while parsing a flow sequence that begins in line 1)"}},
		{"tab", "nested:\n\tmode: x", []string{"f:2: not valid YAML: found character that cannot start any token; indent with blanks, not with a tab"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			into := defaults()
			_, err := config.Decode("f", []byte(tt.text), &into)
			var bad *config.Error
			if !errors.As(err, &bad) {
				t.Fatalf("got %v, want *config.Error", err)
			}
			if got, want := bad.Error(), strings.Join(tt.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestLoadFile(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.yaml")
	large := filepath.Join(dir, "large.yaml")
	write(t, good, "count: 7\n")
	write(t, large, strings.Repeat("#", config.MaxBytes+1))
	tests := []struct {
		name, path, want string
	}{
		{"missing", filepath.Join(dir, "no.yaml"), "/no.yaml: there is no such file"},
		{"directory", dir, ": is a directory; name the file in it"},
		{"too large", large, "this is not a configuration file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			into := defaults()
			_, err := config.Load(tt.path, &into)
			var bad *config.Error
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want *config.Error with %q", err, tt.want)
			}
		})
	}
	t.Run("good", func(t *testing.T) {
		into := defaults()
		file, err := config.Load(good, &into)
		if err != nil || into.Count != 7 || file.Missing || !file.Has("count") || file.Has("name") {
			t.Fatalf("got %+v, %v, count %d", file, err, into.Count)
		}
		if got, want := file.Problem("count", "odd").String(), good+":1: count: 7 - odd"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("default missing", func(t *testing.T) {
		into := defaults()
		file, err := config.LoadDefault(filepath.Join(dir, "no.yaml"), &into)
		if err != nil || !file.Missing || !reflect.DeepEqual(into, defaults()) {
			t.Fatalf("got %+v, %v", file, err)
		}
		_, err = config.Load(filepath.Join(dir, "no.yaml"), &into)
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want it to be fs.ErrNotExist", err)
		}
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"", "name: x\ncount: 3\n", "nested: {mode: observe}", "files: [a, b]", "a: &x [*x]", "? a\n: b", "<<: {count: 1}",
		"count: 1\ncount: 2", "\tname: x", "token: !!binary aGk=", "name: !foo x", "window: 1h\nmax: 1GiB", "---\n---\n",
		"routes: [{to: a}, null, 3]", "labels: {a: b, ? [x] : y}", "tls: ~", "\xff\xfe", "name: 'nats://u:p@h'",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		into := defaults()
		_, err := config.Decode("f", data, &into)
		var bad *config.Error
		if err != nil && (!errors.As(err, &bad) || len(bad.Problems) == 0) {
			t.Fatalf("got %v, want *config.Error with problems", err)
		}
		if bad == nil {
			return
		}
		for _, p := range bad.Problems {
			if p.Text == "" || p.Line < 0 || strings.ContainsAny(p.Value, "\n\r\x1b") {
				t.Errorf("problem %#v", p)
			}
		}
	})
}
