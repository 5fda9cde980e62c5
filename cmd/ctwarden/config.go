package main

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/remediate"
)

// defaultConfigPath is read where no file is named.
const defaultConfigPath = "/etc/ctwarden/ctwarden.yaml"

// Config is the agent's configuration file. Every key is optional; [defaultConfig] has the defaults, and
// packaging/ctwarden.yaml lists them with what they mean.
type Config struct {
	Mode         remediate.Mode  `yaml:"mode"`
	Site         string          `yaml:"site"`
	Host         string          `yaml:"host"` // empty: the kernel's host name
	Sources      sourcesConfig   `yaml:"sources"`
	Incident     incidentConfig  `yaml:"incident"`
	Remediate    remediateConfig `yaml:"remediate"`
	NATS         natsConfig      `yaml:"nats"`
	Outbox       outboxConfig    `yaml:"outbox"`
	Oncall       []oncallConfig  `yaml:"oncall"`
	Metrics      metricsConfig   `yaml:"metrics"`
	StateDir     string          `yaml:"state_dir"`
	RuntimeDir   string          `yaml:"runtime_dir"`
	ControlGroup string          `yaml:"control_group"`
	Log          logConfig       `yaml:"log"`
}

type sourcesConfig struct {
	Lookback  time.Duration `yaml:"lookback"`
	LateAfter time.Duration `yaml:"late_after"`
	Kmsg      kmsgConfig    `yaml:"kmsg"`
	Journal   journalConfig `yaml:"journal"`
	Syslog    syslogConfig  `yaml:"syslog"`
}

type kmsgConfig struct {
	Enabled config.Auto `yaml:"enabled"`
}

type journalConfig struct {
	Enabled   config.Auto `yaml:"enabled"`
	Directory string      `yaml:"directory"` // empty: the host's own journal
}

type syslogConfig struct {
	Enabled config.Auto `yaml:"enabled"`
	Files   []string    `yaml:"files"`
}

type incidentConfig struct {
	Pressure    float64       `yaml:"pressure"` // a share of the limit
	Horizon     time.Duration `yaml:"horizon"`
	CloseAfter  time.Duration `yaml:"close_after"`
	UpdateEvery time.Duration `yaml:"update_every"`
}

type remediateConfig struct {
	Ceiling       uint64                `yaml:"ceiling"` // entries
	Step          float64               `yaml:"step"`
	MaxStep       float64               `yaml:"max_step"`
	MaxInsertRate float64               `yaml:"max_insert_rate"` // entries per second
	MemoryShare   float64               `yaml:"memory_share"`    // of RAM
	Cooldown      time.Duration         `yaml:"cooldown"`
	StepsPerHour  int                   `yaml:"steps_per_hour"`
	Buckets       remediate.BucketsMode `yaml:"buckets"`
	MaxStall      time.Duration         `yaml:"max_stall"`
	RaiseOnFlood  bool                  `yaml:"raise_on_flood"`
	ForeignPause  time.Duration         `yaml:"foreign_pause"`
	Decay         time.Duration         `yaml:"decay"`
	AwaitFleet    bool                  `yaml:"await_fleet"`
	Persist       bool                  `yaml:"persist"`
	PersistFile   string                `yaml:"persist_file"`
}

type natsConfig struct {
	Servers     []string  `yaml:"servers"`
	Credentials string    `yaml:"credentials"` // path of a .creds file, or the name of a systemd credential
	TLS         tlsConfig `yaml:"tls"`
}

// tlsConfig names files in PEM form, by path or as systemd credentials.
type tlsConfig struct {
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

type outboxConfig struct {
	MaxEvents int `yaml:"max_events"`
}

type metricsConfig struct {
	Listen string   `yaml:"listen"` // empty: off
	Users  []string `yaml:"users"`  // names or numbers; "*" for every user
}

type logConfig struct {
	Level string `yaml:"level"`
}

// defaultConfig is the configuration of an empty file.
func defaultConfig() Config {
	p := remediate.DefaultPolicy()
	return Config{
		Mode: p.Mode,
		Site: "default",
		Sources: sourcesConfig{
			Lookback:  10 * time.Minute,
			LateAfter: 30 * time.Second,
			Kmsg:      kmsgConfig{Enabled: config.AutoDetect},
			Journal:   journalConfig{Enabled: config.AutoDetect},
			Syslog: syslogConfig{Enabled: config.AutoDetect,
				Files: []string{"/var/log/kern.log", "/var/log/syslog", "/var/log/messages"}},
		},
		Incident: incidentConfig{Pressure: p.Pressure, Horizon: p.Horizon, CloseAfter: 2 * time.Minute, UpdateEvery: 30 * time.Second},
		Remediate: remediateConfig{
			Ceiling: p.Ceiling, Step: p.Step, MaxStep: p.MaxStep, MaxInsertRate: p.MaxInsertRate, MemoryShare: p.MemoryShare,
			Cooldown: p.Cooldown, StepsPerHour: p.StepsPerHour, Buckets: p.Buckets, MaxStall: p.MaxStall,
			RaiseOnFlood: p.RaiseOnFlood, ForeignPause: p.ForeignPause, Decay: p.Decay, Persist: p.Persist,
			PersistFile: "/etc/sysctl.d/99-zz-ctwarden.conf",
		},
		NATS:       natsConfig{Servers: []string{}},
		Outbox:     outboxConfig{MaxEvents: 100000},
		Oncall:     []oncallConfig{},
		Metrics:    metricsConfig{Listen: "127.0.0.1:9735", Users: []string{}},
		StateDir:   "/var/lib/ctwarden",
		RuntimeDir: "/run/ctwarden",
		Log:        logConfig{Level: "info"},
	}
}

// policy is what the operator allows, as the core takes it.
func (c *Config) policy() remediate.Policy {
	r := c.Remediate
	return remediate.Policy{
		Mode: c.Mode, Pressure: c.Incident.Pressure, Horizon: c.Incident.Horizon, Ceiling: r.Ceiling, Step: r.Step,
		MaxStep: r.MaxStep, MaxInsertRate: r.MaxInsertRate, MemoryShare: r.MemoryShare, Cooldown: r.Cooldown,
		StepsPerHour: r.StepsPerHour, Buckets: r.Buckets, MaxStall: r.MaxStall, RaiseOnFlood: r.RaiseOnFlood,
		ForeignPause: r.ForeignPause, Decay: r.Decay, Persist: r.Persist,
	}
}
