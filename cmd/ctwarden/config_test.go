package main

import (
	"errors"
	"net"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestShippedFile holds packaging/ctwarden.yaml to the program: it names every key, and each with its default.
func TestShippedFile(t *testing.T) {
	const path = "../../packaging/ctwarden.yaml"
	var cfg Config
	file, err := config.Load(path, &cfg)
	if err != nil {
		// Only what the file leaves out is wrong here, since nothing is preset.
		t.Fatal(err)
	}
	if want := defaultConfig(); !reflect.DeepEqual(cfg, want) {
		t.Errorf("the shipped file gives\n%+v\nthe defaults are\n%+v", cfg, want)
	}
	for _, key := range config.Keys(Config{}) {
		if !file.Has(key) {
			t.Errorf("%s is not in the shipped file", key)
		}
	}
}

func TestDefaultsAreValid(t *testing.T) {
	cfg := defaultConfig()
	if _, err := config.Decode("empty", nil, &cfg); err != nil {
		t.Fatal(err)
	}
	if got, want := cfg.policy(), remediate.DefaultPolicy(); got != want {
		t.Errorf("policy %+v, want %+v", got, want)
	}
}

// TestRules gives each rule one value just outside and one just inside of what is allowed.
func TestRules(t *testing.T) {
	tests := []struct {
		key, bad, good string
		want           string // of the message
	}{
		{"mode", "observ", "remediate", "did you mean observe?"},
		{"site", "a.b", "a_b-1", "letters, digits"},
		{"host", "'a b'", "a.b", "host name"},
		{"sources.lookback", "-1s", "0", "from 0s to 8784h"},
		{"sources.kmsg.enabled", "on", "true", "auto, true or false"},
		{"sources.journal.directory", "var/log", "/var/log/journal", "absolute"},
		{"sources.syslog.files", "[kern.log]", "[/kern.log]", "absolute"},
		{"sources.syslog.files", "[/a, /b, /a]", "[/a, /b]", "twice"},
		{"incident.pressure", "0.995", "0.99", "from 0.5 to 0.99 of the limit"},
		{"incident.pressure", "0.4", "0.5", "from 0.5 to 0.99 of the limit"},
		{"incident.horizon", "0", "1s", "from 1s to 1h"},
		{"incident.close_after", "25h", "24h", "from 1s to 24h"},
		{"incident.update_every", "999ms", "1s", "from 1s to 1h"},
		{"remediate.ceiling", "2147483648", "2147483647", "from 1 to 2147483647 entries"},
		{"remediate.ceiling", "0", "1", "from 1 to 2147483647 entries"},
		{"remediate.step", "1", "1.1", "above 1, at most max_step (4)"},
		{"remediate.step", "4.5", "4", "above 1, at most max_step (4)"},
		{"remediate.max_step", "65", "64", "above 1, at most 64"},
		{"remediate.max_insert_rate", "0", "1", "from 1 to 1000000000 new connections per second"},
		{"remediate.memory_share", "0", "0.5", "above 0, at most 0.5"},
		{"remediate.memory_share", "0.51", "0.01", "above 0, at most 0.5"},
		{"remediate.cooldown", "-1s", "0", "from 0s to 24h"},
		{"remediate.steps_per_hour", "0", "1", "mode: observe"},
		{"remediate.buckets", "resize", "keep", "presize or keep"},
		{"remediate.max_stall", "11s", "10s", "from 0s to 10s"},
		{"remediate.foreign_pause", "25h", "0", "from 0s to 24h"},
		{"remediate.decay", "59s", "0", "from 1m to 8784h"},
		{"remediate.persist_file", "/etc/sysctl.d/99-x", "/etc/sysctl.d/99-x.conf", ".conf"},
		{"remediate.persist_file", "99.conf", "/x/9.conf", "absolute"},
		{"nats.servers", "['http://x']", "['nats://x:4222', 'tls://x', 'ws://x', 'wss://x/nats']", "must begin with"},
		{"nats.servers", "[nats1]", "['nats://nats1']", "URL of a NATS server"},
		{"nats.servers", "['nats://x:99999']", "['nats://[::1]:4222']", "port"},
		{"nats.credentials", "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY", "/etc/ctwarden/nats.creds", "absolute path"},
		{"nats.credentials", "etc/nats.creds", "nats.creds", "absolute path"},
		{"nats.tls", "{cert: /c}", "{cert: /c, key: /k}", "needs tls.key"},
		{"nats.tls", "{key: /k}", "{ca: /c}", "needs tls.cert"},
		{"outbox.max_events", "0", "1", "from 1 to 10000000 events"},
		{"oncall", "[{name: a}]", "[]", "exactly one of"},
		{"oncall", "[{name: a, slack: {url: /s}, severity: low}]", "[{name: a, slack: {url: /s}, severity: warning}]", "critical or warning"},
		{"oncall", "[{name: a, slack: {url: /s}}, {name: a, slack: {url: /s}}]", "[{name: a, slack: {url: /s}}, {name: b, slack: {url: /s}}]", "another sender"},
		{"remediate.await_fleet", "true", "false", "needs nats.servers"},
		{"metrics.listen", "9735", "'[::1]:9735'", "host:port"},
		{"metrics.listen", "127.0.0.1:0", "''", "1 to 65535"},
		{"metrics.listen", "'unix:metrics.sock'", "'unix:/run/ctwarden/metrics.sock'", "absolute path of a socket"},
		{"metrics.listen", "'unix:/run/../x'", "'unix:/x'", "absolute path of a socket"},
		{"metrics.listen", "'unix:/" + strings.Repeat("x", 110) + "'", "'unix:/" + strings.Repeat("x", 100) + "'", "longer than 106 bytes"},
		{"metrics.users", "prometheus", "[prometheus]", "must be a list"},
		{"metrics.users", "['a b']", "['*']", "name or the number of one user"},
		{"metrics.users", "['']", "[1000, '1001']", "name or the number of one user"},
		{"metrics", "{listen: 'unix:/m', users: [root]}", "{listen: 'unix:/m', users: []}", "unix socket is for root"},
		{"state_dir", "lib", "/lib", "absolute"},
		{"state_dir", "/", "/x", "absolute"},
		{"runtime_dir", "/var/lib/ctwarden", "/run/x", "must not be state_dir"},
		{"control_group", "'a,b'", "adm", "one group"},
		{"log.level", "trace", "debug", "debug, info, warn or error"},
	}
	for _, tt := range tests {
		t.Run(tt.key+"="+tt.bad, func(t *testing.T) {
			cfg := defaultConfig()
			if _, err := config.Decode("f", document(tt.key, tt.good), &cfg); err != nil {
				t.Errorf("%s: %v", tt.good, err)
			}
			cfg = defaultConfig()
			_, err := config.Decode("f", document(tt.key, tt.bad), &cfg)
			var bad *config.Error
			if !errors.As(err, &bad) || len(bad.Problems) != 1 {
				t.Fatalf("got %v, want one problem", err)
			}
			p := bad.Problems[0]
			if !strings.HasPrefix(p.Key, tt.key) || !strings.Contains(p.Text, tt.want) || p.Line == 0 {
				t.Errorf("got %q, want key %s, a line and %q", p, tt.key, tt.want)
			}
		})
	}
}

// document writes one key, a dotted path, as a file.
func document(key, value string) []byte {
	var b strings.Builder
	parts := strings.Split(key, ".")
	for i, part := range parts {
		b.WriteString(strings.Repeat("  ", i) + part + ":")
		if i < len(parts)-1 {
			b.WriteString("\n")
		}
	}
	return []byte(b.String() + " " + value + "\n")
}

func TestNoSource(t *testing.T) {
	cfg := defaultConfig()
	_, err := config.Decode("f", []byte("sources:\n  kmsg: {enabled: false}\n  journal: {enabled: false}\n  syslog: {files: []}\n"), &cfg)
	if err == nil || !strings.Contains(err.Error(), "at least one source") {
		t.Errorf("got %v", err)
	}
}

func TestSecretsOnMachine(t *testing.T) {
	dir := t.TempDir()
	open, closed, pipe := dir+"/open.creds", dir+"/closed.creds", dir+"/pipe.creds"
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{open: 0o644, closed: 0o640} {
		if err := os.WriteFile(path, []byte("seed"), mode); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name, path       string
		mistake, warning string
	}{
		{"for everybody", open, "may be read by every user", ""},
		{"for some", closed, "", ""},
		{"not there", dir + "/none", "", "no such file"},
		{"a directory", dir, "not a regular file", ""},
		{"a pipe without a writer", pipe, "not a regular file", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := defaultConfig()
			file, err := config.Decode("f", []byte("nats: {credentials: "+tt.path+"}"), &cfg)
			if err != nil {
				t.Fatal(err)
			}
			mistakes, warnings := cfg.onMachine(file)
			if got := first(mistakes); !strings.Contains(got, tt.mistake) || (got == "") != (tt.mistake == "") {
				t.Errorf("mistakes %v, want %q", mistakes, tt.mistake)
			}
			if got := first(warnings); !strings.Contains(got, tt.warning) || (got == "") != (tt.warning == "") {
				t.Errorf("warnings %v, want %q", warnings, tt.warning)
			}
		})
	}
}

func TestMetricsAreOnLoopback(t *testing.T) {
	host, _, err := net.SplitHostPort(defaultConfig().Metrics.Listen)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		t.Errorf("the metrics are served on %q by default (%v)", host, err)
	}
}

func first(list []config.Problem) string {
	if len(list) == 0 {
		return ""
	}
	return list[0].String()
}

func FuzzConfig(f *testing.F) {
	shipped, err := os.ReadFile("../../packaging/ctwarden.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(shipped), "", "nats: {servers: ['nats://u:p@h:1', '://']}", "metrics: {listen: '[::1'}",
		"remediate: {step: 1e308, max_step: 1e308}", "sources: {syslog: {files: ['', /]}}", "oncall: [{a: [b]}]", "persist_file: x"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg := defaultConfig()
		if _, err := config.Decode("f", data, &cfg); err != nil {
			return
		}
		p := cfg.policy()
		if p.Ceiling < 1 || p.Ceiling > remediate.MaxLimit || p.Step <= 1 || p.Step > p.MaxStep || p.MemoryShare <= 0 || p.Cooldown < 0 {
			t.Errorf("let through: %+v", p)
		}
	})
}
