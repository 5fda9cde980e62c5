package main

import (
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/hub"
	"github.com/ctwarden/ctwarden/notify/oncall"
)

const defaultConfigPath = "/etc/ctwarden/hub.yaml"

// defaultPage is where the page is served: to this machine only, since it shows the fleet to everybody who reaches it.
const defaultPage = "127.0.0.1:9736"

// The byte limits of the stream where the operator gives none.
const (
	embeddedMaxBytes = config.Size(1 << 30)
	clusterMaxBytes  = config.Size(10 << 30)
)

// settings is the hub's configuration file.
type settings struct {
	NATS     natsSettings     `yaml:"nats"`
	Embedded embeddedSettings `yaml:"embedded"`
	// State is the folder for what the hub keeps.
	State string `yaml:"state"`

	// Listen is where the page is served; empty: nowhere. Link is its address as people reach it.
	Listen        string         `yaml:"listen"`
	Link          string         `yaml:"link"`
	Users         []userSettings `yaml:"users"`
	TrustedHeader headerSettings `yaml:"trusted_header"`

	// Sites has a description of each site, for people.
	Sites        map[string]string `yaml:"sites"`
	Labels       []labelSettings   `yaml:"labels"`
	GroupBy      []string          `yaml:"group_by"`
	GroupWindow  time.Duration     `yaml:"group_window"`
	GroupWait    time.Duration     `yaml:"group_wait"`
	UpdateEvery  time.Duration     `yaml:"update_every"`
	StepsPerHour int               `yaml:"fleet_steps_per_hour"`
	Routes       []routeSettings   `yaml:"routes"`
	OnCall       []oncall.Config   `yaml:"oncall"`
	Rollout      rolloutSettings   `yaml:"rollout"`
}

// natsSettings say where the fleet's NATS servers are.
type natsSettings struct {
	Servers     []string    `yaml:"servers"`
	Credentials string      `yaml:"credentials"`
	TLS         tlsSettings `yaml:"tls"`
}

type tlsSettings struct {
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// embeddedSettings are about the NATS server inside the hub.
type embeddedSettings struct {
	Enabled bool   `yaml:"enabled"`
	Listen  string `yaml:"listen"`
	// Store is the folder of its streams; empty: below State.
	Store    string      `yaml:"store"`
	MaxBytes config.Size `yaml:"max_bytes"`
}

func defaults() settings {
	return settings{
		Embedded: embeddedSettings{Listen: hub.DefaultListen, MaxBytes: embeddedMaxBytes},
		State:    "/var/lib/ctwarden-hub",
		Listen:   defaultPage, GroupBy: []string{fleet.GroupBySite},
		GroupWindow: 2 * time.Minute, GroupWait: 5 * time.Second, UpdateEvery: 5 * time.Minute,
	}
}

// Validate implements config.Validator.
func (s settings) Validate(p *config.Problems) {
	if s.Embedded.Enabled && len(s.NATS.Servers) > 0 {
		p.Add("embedded.enabled", "there are nats.servers as well; keep one of the two")
	}
	if s.Embedded.MaxBytes < 1<<20 {
		p.Add("embedded.max_bytes", "too small to hold events; at least 1MiB")
	}
	if !filepath.IsAbs(s.State) {
		p.Add("state", "must be an absolute path")
	}
	if s.Embedded.Store != "" && !filepath.IsAbs(s.Embedded.Store) {
		p.Add("embedded.store", "must be an absolute path")
	}
	if (s.NATS.TLS.Cert == "") != (s.NATS.TLS.Key == "") {
		p.Add("nats.tls", "cert and key go together")
	}
	s.validatePage(p)
	s.validateFleet(p)
	s.validateRoutes(p)
	oncall.CheckNames(p, "oncall", s.OnCall)
}

func (s settings) dial() notify.Dial {
	return notify.Dial{
		Servers: s.NATS.Servers, Credentials: s.NATS.Credentials, Name: "ctwarden-hub", InboxPrefix: hub.InboxPrefix,
		TLS: notify.TLS{CA: s.NATS.TLS.CA, Cert: s.NATS.TLS.Cert, Key: s.NATS.TLS.Key},
	}
}

func (s settings) store() string {
	if s.Embedded.Store != "" {
		return s.Embedded.Store
	}
	return filepath.Join(s.State, "nats")
}

// loadSettings reads the named file, or the default one where it is there.
func loadSettings(path string) (settings, error) {
	s, _, err := loadFile(path)
	return s, err
}

func loadFile(path string) (settings, *config.File, error) {
	s := defaults()
	var file *config.File
	var err error
	if path == "" {
		file, err = config.LoadDefault(defaultConfigPath, &s)
	} else {
		file, err = config.Load(path, &s)
	}
	if err != nil {
		return s, nil, err
	}
	return s, file, s.onMachine(file)
}

func newCheckConfigCommand(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "check-config [FILE]",
		Short: "Names every mistake in the configuration file",
		Long: "Names every mistake in the configuration file at once (default " + defaultConfigPath + "), and every file that it names and\n" +
			"that is not there or cannot be read. What can only be told where the service runs is a warning, and so is what will\n" +
			"hardly be meant. Exit code 0, or 2 with mistakes.",
		Example: "  ctwarden-hub check-config hub.yaml",
		Args:    cobra.MaximumNArgs(1),
		RunE: action(func(_ *cobra.Command, args []string) error {
			path := defaultConfigPath
			if len(args) > 0 {
				path = args[0]
			}
			s, file, err := loadFile(path)
			if err != nil {
				return err
			}
			warnings, err := s.filesHere(file)
			for _, w := range append(warnings, s.doubts()...) {
				fmt.Fprintf(stdout, "%s: warning: %s\n", path, w)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(stdout, "%s: ok\n", path)
			return err
		}),
	}
}
