package main

import (
	"cmp"
	"fmt"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/notify/oncall"
	"github.com/ctwarden/ctwarden/remediate"
)

// oncallConfig is one sender that this host uses itself.
type oncallConfig struct {
	oncall.Config
	// Severity is from which on it is told: critical, which is the default, or warning for both.
	Severity remediate.Severity `yaml:"severity"`
}

// Validate implements config.Validator.
func (c *oncallConfig) Validate(p *config.Problems) {
	c.Config.Validate(p)
	config.OneOf(p, "severity", cmp.Or(c.Severity, remediate.SeverityCritical), remediate.SeverityCritical, remediate.SeverityWarning)
}

// senders are the senders without what is this program's own.
func (c *Config) senders() (list []oncall.Config) {
	for _, s := range c.Oncall {
		list = append(list, s.Config)
	}
	return list
}

// agentSenders are the senders as the agent takes them.
func (c *Config) agentSenders() (list []agent.Oncall) {
	for _, s := range c.Oncall {
		list = append(list, agent.Oncall{Config: s.Config, Severity: cmp.Or(s.Severity, remediate.SeverityCritical)})
	}
	return list
}

// sendersOnMachine looks at the files that the senders name on this machine.
func (c *Config) sendersOnMachine(file *config.File) (mistakes, warnings []config.Problem) {
	for i, s := range c.Oncall {
		for _, f := range s.Files() {
			wrong, unsure := namedFile{setting: f.Setting, secret: f.Secret}.onMachine(file, fmt.Sprintf("oncall[%d].%s", i, f.Key))
			mistakes, warnings = append(mistakes, wrong...), append(warnings, unsure...)
		}
	}
	return mistakes, warnings
}
