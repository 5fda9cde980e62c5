package replay

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

const message = "nf_conntrack: nf_conntrack: table full, dropping packet"

func config(host string) Config {
	return Config{
		Policy: remediate.DefaultPolicy(), CloseAfter: 2 * time.Minute, Limit: DefaultLimit, Host: host,
		Location: time.UTC,
		ScanJournal: func(context.Context, string, string, func(remediate.Match) error) (watcher.Stats, error) {
			return watcher.Stats{}, errors.New("no journal in this test")
		},
	}
}

// write makes a file of lines.
func write(t *testing.T, name string, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// at is a line of the host hv042, so many seconds after ten o'clock.
func at(seconds int, msg string) string { return hostAt("hv042", seconds, msg) }

func hostAt(host string, seconds int, msg string) string {
	when := time.Date(2026, time.March, 1, 10, 0, seconds, 0, time.UTC)
	return when.Format(time.RFC3339) + " " + host + " kernel: [" + fmt.Sprint(1000+seconds) + ".000000] " + msg
}

func run(t *testing.T, cfg Config, paths ...string) Report {
	t.Helper()
	report, err := Run(t.Context(), cfg, inputs(paths...))
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func inputs(paths ...string) []Input {
	var in []Input
	for _, path := range paths {
		in = append(in, Input{Path: path})
	}
	return in
}

// TestRunContract checks the JSON against the contract, name by name.
func TestRunContract(t *testing.T) {
	path := write(t, "kern.log",
		at(0, message), at(1, message), at(2, "message repeated 3 times: [ "+message+"]"), at(3, message),
		at(4, "net_ratelimit: 40 callbacks suppressed"),
		hostAt("hv043", 5, message), at(6, message+"s"),
		"2026-03-01T10:00:07Z hv042 sshd[1]: "+message, "2026-03-01T10:00:08Z hv042 sshd[1]: hello",
		at(600, strings.Replace(message, "full", "full in netns 4026532177", 1)))
	var out bytes.Buffer
	if err := run(t, config("hv042"), path).WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	step := func(from, to float64) any {
		return map[string]any{"from": from, "to": to, "reason": "full", "assumed": true}
	}
	want := map[string]any{
		"sources": []any{map[string]any{
			"path": path, "records": 10.0, "matches": 7.0, "unparsed": 1.0,
			"rejected": map[string]any{"not_kernel": 1.0, "other_host": 1.0},
		}},
		"matches": 7.0, "suppressed": 40.0,
		"incidents": []any{
			map[string]any{
				"host": "hv042", "netns": "init", "opened": "2026-03-01T10:00:00Z", "closed": "2026-03-01T10:02:03Z",
				"matches": 6.0, "suppressed": 40.0,
				"steps": []any{step(65536, 131072), step(131072, 262144), step(262144, 524288)},
			},
			map[string]any{
				"host": "hv042", "netns": "4026532177", "opened": "2026-03-01T10:10:00Z", "closed": "2026-03-01T10:12:00Z",
				"matches": 1.0, "suppressed": 0.0, "steps": []any{},
			},
		},
	}
	if err := contains(got, want); err != "" {
		t.Errorf("%s in\n%s", err, out.String())
	}
}

// contains says where got lacks what want has; more is allowed in objects.
func contains(got, want any) string {
	switch want := want.(type) {
	case map[string]any:
		object, _ := got.(map[string]any)
		for key, value := range want {
			if err := contains(object[key], value); err != "" {
				return key + "." + err
			}
		}
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return fmt.Sprintf("%d elements, want %d", len(list), len(want))
		}
		for i := range want {
			if err := contains(list[i], want[i]); err != "" {
				return fmt.Sprintf("%d.%s", i, err)
			}
		}
	default:
		if !reflect.DeepEqual(got, want) {
			return fmt.Sprintf("is %v, want %v", got, want)
		}
	}
	return ""
}

func TestRunIncidents(t *testing.T) {
	type seen struct {
		Host, NetNS         string
		Matches, Suppressed int
		Steps               int
	}
	kern := []string{at(0, message), at(1, message), at(2, message)}
	for _, c := range []struct {
		name  string
		host  string
		files [][]string
		want  []seen
	}{
		{"nothing", "hv042", [][]string{{at(0, "hello")}}, nil},
		{"one record in two files counts once", "hv042", [][]string{kern, kern}, []seen{{"hv042", "init", 3, 0, 3}}},
		{"the larger count wins", "hv042", [][]string{kern[:1], kern}, []seen{{"hv042", "init", 3, 0, 3}}},
		{"quiet long enough", "hv042", [][]string{{at(0, message), at(119, message), at(239, message)}},
			[]seen{{"hv042", "init", 2, 0, 2}, {"hv042", "init", 1, 0, 1}}},
		{"any host", "*", [][]string{{at(0, message), hostAt("db1", 1, message)}},
			[]seen{{"hv042", "init", 1, 0, 1}, {"db1", "init", 1, 0, 1}}},
		{"a limit for all namespaces", "hv042", [][]string{{
			at(0, message), at(1, strings.Replace(message, "full", "full in netns 4026532177", 1)), at(2, message), at(3, message),
		}}, []seen{{"hv042", "init", 3, 0, 2}, {"hv042", "4026532177", 1, 0, 1}}},
		{"a notice alone", "hv042", [][]string{{at(0, "net_ratelimit: 4 callbacks suppressed")}}, nil},
		{"a notice shortly before", "hv042", [][]string{{at(0, "net_ratelimit: 4 callbacks suppressed"), at(1, message)}},
			[]seen{{"hv042", "init", 1, 4, 1}}},
		{"a line without a host", "hv042", [][]string{{at(0, message), "2026-03-01T10:00:01Z kernel: " + message}},
			[]seen{{"hv042", "init", 2, 0, 2}}},
		{"since boot alone", "hv042", [][]string{{"[   10.000000] " + message, "[   11.000000] " + message, "[  500.000000] " + message}},
			[]seen{{"hv042", "init", 2, 0, 2}, {"hv042", "init", 1, 0, 1}}},
		{"no time at all", "hv042", [][]string{{"kernel: " + message, "kernel: " + message}}, []seen{{"hv042", "init", 2, 0, 2}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var paths []string
			for i, lines := range c.files {
				paths = append(paths, write(t, fmt.Sprint(i), lines...))
			}
			var got []seen
			for _, in := range run(t, config(c.host), paths...).Incidents {
				got = append(got, seen{in.Host, in.NetNS, in.Matches, in.Suppressed, len(in.Steps)})
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("incidents %+v\nwant      %+v", got, c.want)
			}
		})
	}
}

func TestRunTimes(t *testing.T) {
	t.Run("since boot", func(t *testing.T) {
		in := run(t, config("hv042"), write(t, "dmesg", "[   10.500000] "+message)).Incidents[0]
		if !in.Opened.IsZero() || !in.Closed.IsZero() || in.OpenedUptime != 10.5 || in.ClosedUptime != 130.5 ||
			in.Steps[0].AtUptime != 10.5 {
			t.Errorf("%+v", in)
		}
	})
	t.Run("year", func(t *testing.T) {
		cfg := config("hv042")
		cfg.Year = 2019
		path := write(t, "kern.log", "Dec 31 23:59:59 hv042 kernel: "+message, "Jan  1 00:00:01 hv042 kernel: "+message)
		incidents := run(t, cfg, path).Incidents
		if len(incidents) != 1 || incidents[0].Opened.Year() != 2019 || incidents[0].Closed.Year() != 2020 {
			t.Errorf("%+v", incidents)
		}
	})
	t.Run("the file's age", func(t *testing.T) {
		path := write(t, "kern.log", "Dec 31 23:59:59 hv042 kernel: "+message)
		written := time.Date(2021, time.January, 3, 0, 0, 0, 0, time.UTC)
		if err := os.Chtimes(path, written, written); err != nil {
			t.Fatal(err)
		}
		if got := run(t, config("hv042"), path).Incidents[0].Opened; got.Year() != 2020 {
			t.Errorf("opened %v", got)
		}
	})
}

func TestRunGuards(t *testing.T) {
	var lines []string
	for i := range 6 {
		lines = append(lines, at(i*60, message))
	}
	path := write(t, "kern.log", lines...)
	for _, c := range []struct {
		name  string
		set   func(*Config)
		steps int
		last  uint64
		why   remediate.Reason
	}{
		{"the ceiling", func(*Config) {}, 3, 524288, remediate.ReasonAtCeiling},
		{"the budget", func(c *Config) { c.Policy.StepsPerHour = 2 }, 2, 262144, remediate.ReasonBudget},
		{"the cooldown", func(c *Config) { c.Policy.Cooldown = 150 * time.Second }, 2, 262144, remediate.ReasonCooldown},
		{"another limit", func(c *Config) { c.Limit = 100000 }, 3, 524288, remediate.ReasonAtCeiling},
		{"above the ceiling", func(c *Config) { c.Limit = 1 << 20 }, 0, 0, remediate.ReasonAtCeiling},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config("hv042")
			c.set(&cfg)
			in := run(t, cfg, path).Incidents[0]
			last := uint64(0)
			if n := len(in.Steps); n > 0 {
				last = in.Steps[n-1].To
			}
			if len(in.Steps) != c.steps || last != c.last || len(in.Refused) != 1 || in.Refused[0].Reason != c.why {
				t.Errorf("steps %+v, refused %+v", in.Steps, in.Refused)
			}
		})
	}
}

func TestRunErrors(t *testing.T) {
	good := write(t, "kern.log", at(0, message))
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	for range 1000 {
		fmt.Fprintln(z, at(0, message))
	}
	z.Close()
	cut := filepath.Join(t.TempDir(), "cut.gz")
	if err := os.WriteFile(cut, packed.Bytes()[:packed.Len()-10], 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "missing.log")
	dir := t.TempDir()
	report, err := Run(t.Context(), config("hv042"), append(inputs(missing, dir, cut, good, good), Input{Path: dir, Journal: true}))
	for _, part := range []string{missing, "name an existing file", dir + ": it is a directory", cut, "no journal in this test"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v lacks %q", err, part)
		}
	}
	if n := len(report.Sources); n != 5 {
		t.Fatalf("%d sources", n)
	}
	for i, fails := range []bool{true, true, true, false, true} {
		if got := report.Sources[i].Error != ""; got != fails {
			t.Errorf("source %s: error %q", report.Sources[i].Path, report.Sources[i].Error)
		}
	}
	if report.Sources[3].Matches != 1 || report.Sources[2].Matches < 900 || len(report.Incidents) != 1 {
		t.Errorf("%+v", report)
	}
	cfg := config("hv042")
	cfg.Limit = 0
	if _, err := Run(t.Context(), cfg, nil); err == nil {
		t.Error("a limit of 0 is accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, config("*"), inputs(good)); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// TestRunCorpus: all positive lines and none of the negative ones.
func TestRunCorpus(t *testing.T) {
	for name, want := range map[string]uint64{
		"positive.log": 13, "synthetic-positive.log": 1 + 9 + 2 + 15, "negative.log": 0, "synthetic-negative.log": 0,
	} {
		t.Run(name, func(t *testing.T) {
			if got := run(t, config("*"), filepath.Join("../../testdata/corpus", name)).Matches; got != want {
				t.Errorf("%d matches, want %d", got, want)
			}
		})
	}
}
