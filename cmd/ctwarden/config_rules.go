package main

import (
	"cmp"
	"fmt"
	"math"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

const day = 24 * time.Hour

// Validate implements config.Validator.
func (c *Config) Validate(p *config.Problems) {
	config.OneOf(p, "mode", c.Mode, remediate.ModeObserve, remediate.ModeRemediate)
	if notify.CheckSite(c.Site) != nil {
		p.Add("site", "must be 1 to 64 letters, digits, - or _, since it is a part of the NATS subject")
	}
	if len(c.Host) > 253 || strings.ContainsFunc(c.Host, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }) {
		p.Add("host", "must be a host name of at most 253 plain characters, or empty for the kernel's host name")
	}
	if c.Remediate.AwaitFleet && len(c.NATS.Servers) == 0 {
		p.Add("remediate.await_fleet", "needs nats.servers: without them no word of the fleet comes, and the host observes for ever")
	}
	oncall.CheckNames(p, "oncall", c.senders())
	directory(p, "state_dir", c.StateDir)
	directory(p, "runtime_dir", c.RuntimeDir)
	if c.StateDir == c.RuntimeDir {
		p.Add("runtime_dir", "must not be state_dir: what is in it is forgotten with the boot")
	}
	if strings.ContainsAny(c.ControlGroup, " :,/\t") {
		p.Add("control_group", "must be the name of one group, or empty")
	}
	config.OneOf(p, "log.level", c.Log.Level, "debug", "info", "warn", "error")
	between(p, "outbox.max_events", c.Outbox.MaxEvents, 1, 10_000_000, "events")
}

func (m *metricsConfig) Validate(p *config.Problems) {
	path, socket := agent.MetricsSocket(m.Listen)
	switch {
	case socket:
		socketPath(p, "listen", path)
	case m.Listen != "":
		hostPort(p, "listen", m.Listen)
	}
	if socket && len(m.Users) > 0 {
		p.Add("users", "is of no use with metrics.listen: unix:/path; a unix socket is for root, the agent's user and control_group")
	}
	for i, name := range m.Users {
		if name == "" || strings.ContainsAny(name, " :,/\t") {
			p.Add(fmt.Sprintf("users[%d]", i), "must be the name or the number of one user, or \"*\" for every user")
		}
	}
}

func (s *sourcesConfig) Validate(p *config.Problems) {
	duration(p, "lookback", s.Lookback, 0, 366*day)
	duration(p, "late_after", s.LateAfter, 5*time.Second, day)
	if s.Journal.Directory != "" {
		directory(p, "journal.directory", s.Journal.Directory)
	}
	for i, file := range s.Syslog.Files {
		key := fmt.Sprintf("syslog.files[%d]", i)
		switch {
		case !filepath.IsAbs(file) || strings.HasSuffix(file, "/"):
			p.Add(key, "must be the absolute path of a file, such as /var/log/kern.log")
		case slices.ContainsFunc(s.Syslog.Files[:i], func(f string) bool { return filepath.Clean(f) == filepath.Clean(file) }):
			p.Add(key, "is in the list twice; every file is read once")
		}
	}
	if s.Syslog.Enabled == config.AutoTrue && len(s.Syslog.Files) == 0 {
		p.Add("syslog.files", "must name at least one file where syslog.enabled is true")
	}
	if s.Kmsg.Enabled == config.AutoFalse && s.Journal.Enabled == config.AutoFalse &&
		(s.Syslog.Enabled == config.AutoFalse || len(s.Syslog.Files) == 0) {
		p.Add("", "must leave at least one source on: kmsg, journal or syslog with a file")
	}
}

func (c *incidentConfig) Validate(p *config.Problems) {
	between(p, "pressure", c.Pressure, 0.5, 0.99, "of the limit")
	duration(p, "horizon", c.Horizon, time.Second, time.Hour)
	duration(p, "close_after", c.CloseAfter, time.Second, day)
	duration(p, "update_every", c.UpdateEvery, time.Second, time.Hour)
}

func (r *remediateConfig) Validate(p *config.Problems) {
	between(p, "ceiling", r.Ceiling, 1, math.MaxInt32, "entries")
	if r.Step <= 1 || r.Step > r.MaxStep {
		p.Add("step", "must be a factor above 1, at most max_step (%g)", r.MaxStep)
	}
	if r.MaxStep <= 1 || r.MaxStep > 64 {
		p.Add("max_step", "must be a factor above 1, at most 64")
	}
	between(p, "max_insert_rate", r.MaxInsertRate, 1, 1e9, "new connections per second")
	if r.MemoryShare <= 0 || r.MemoryShare > 0.5 {
		p.Add("memory_share", "must be a share of RAM above 0, at most 0.5")
	}
	duration(p, "cooldown", r.Cooldown, 0, day)
	between(p, "steps_per_hour", r.StepsPerHour, 1, 3600, "steps; for no automatic step at all set mode: observe")
	config.OneOf(p, "buckets", r.Buckets, remediate.BucketsPresize, remediate.BucketsKeep)
	duration(p, "max_stall", r.MaxStall, 0, 10*time.Second)
	duration(p, "foreign_pause", r.ForeignPause, 0, day)
	if r.Decay != 0 {
		duration(p, "decay", r.Decay, time.Minute, 366*day)
	}
	if !filepath.IsAbs(r.PersistFile) || !strings.HasSuffix(r.PersistFile, ".conf") || filepath.Base(r.PersistFile) == ".conf" {
		p.Add("persist_file", "must be the absolute path of a file that ends in .conf, since sysctl.d ignores all others; usually in /etc/sysctl.d")
	}
}

func (n *natsConfig) Validate(p *config.Problems) {
	for i, server := range n.Servers {
		if text := wrongServer(server); text != "" {
			p.Add(fmt.Sprintf("servers[%d]", i), "%s", text)
		}
	}
	for _, f := range n.files() {
		if text := wrongFile(f.setting); text != "" {
			p.Add(f.key, "%s", text)
		}
	}
	if n.TLS.Cert != "" && n.TLS.Key == "" {
		p.Add("tls.cert", "needs tls.key beside it")
	}
	if n.TLS.Key != "" && n.TLS.Cert == "" {
		p.Add("tls.key", "needs tls.cert beside it")
	}
}

// wrongServer says what is wrong with the URL of a NATS server.
func wrongServer(server string) string {
	const want = "such as nats://nats1.example.net:4222 or tls://…; wss:// and ws:// are possible too"
	u, err := url.Parse(server)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return "must be the URL of a NATS server, " + want
	case !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme):
		return "must begin with nats://, tls://, ws:// or wss://, " + want
	case u.Port() != "" && !isPort(u.Port()):
		return "has a port that is not from 1 to 65535"
	}
	return ""
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// socketPath checks the path of a unix socket, whose length the kernel bounds.
func socketPath(p *config.Problems, key, path string) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
		p.Add(key, "unix: must be followed by the absolute path of a socket, such as unix:/run/ctwarden/metrics.sock")
	} else if len(path) > agent.MaxSocketPath {
		p.Add(key, "has a path longer than %d bytes", agent.MaxSocketPath)
	}
}

func hostPort(p *config.Problems, key, value string) {
	host, port, err := net.SplitHostPort(value)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || strings.ContainsAny(host, " /") {
		p.Add(key, `must be host:port, such as 127.0.0.1:9735, [::1]:9735 or :9735 for all addresses, or unix:/path; "" turns it off`)
	} else if n == 0 {
		p.Add(key, "must have a port from 1 to 65535, so that Prometheus finds it")
	}
}

func directory(p *config.Problems, key, path string) {
	if !filepath.IsAbs(path) || filepath.Clean(path) == "/" {
		p.Add(key, "must be the absolute path of a directory")
	}
}

func duration(p *config.Problems, key string, d, lo, hi time.Duration) {
	if d < lo || d > hi {
		p.Add(key, "must be from %s to %s", short(lo), short(hi))
	}
}

// short is a duration without the zero parts at its end.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func between[T cmp.Ordered](p *config.Problems, key string, v, lo, hi T, unit string) {
	if v < lo || v > hi {
		p.Add(key, "must be from %s to %s %s", number(lo), number(hi), unit)
	}
}

// number is a number in plain digits.
func number(v any) string {
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}
