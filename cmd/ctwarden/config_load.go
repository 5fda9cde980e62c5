package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/config"
)

// loadConfig reads the named file, or the usual one where none is named. A usual file that is not there means the
// defaults.
func loadConfig(path string) (Config, *config.File, error) {
	cfg := defaultConfig()
	if path != "" {
		file, err := config.Load(path, &cfg)
		return cfg, file, err
	}
	file, err := config.LoadDefault(defaultConfigPath, &cfg)
	return cfg, file, err
}

// onMachine looks at what the configuration names on this machine. A mistake keeps the agent from starting; a warning
// may be right on the machine that the file is meant for.
func (c *Config) onMachine(file *config.File) (mistakes, warnings []config.Problem) {
	mistakes, warnings = c.NATS.onMachine(file)
	if c.ControlGroup != "" {
		if _, err := user.LookupGroup(c.ControlGroup); err != nil {
			warnings = append(warnings, file.Problem("control_group", "there is no such group here; groupadd --system %s", c.ControlGroup))
		}
	}
	wrong, unsure := c.sendersOnMachine(file)
	mistakes, warnings = append(mistakes, wrong...), append(warnings, unsure...)
	mistakes = append(mistakes, c.Metrics.onMachine(file)...)
	if dir := filepath.Dir(c.Remediate.PersistFile); c.Remediate.Persist && !readAtBoot(dir) {
		warnings = append(warnings, file.Problem("remediate.persist_file",
			"nothing but ctwarden reads %s at boot; use a file in /etc/sysctl.d", dir))
	}
	return mistakes, warnings
}

// onMachine looks for the users. The metrics would stay shut to one who is not here, and be open to whoever gets the name.
func (m *metricsConfig) onMachine(file *config.File) (mistakes []config.Problem) {
	for i, name := range m.Users {
		if _, err := agent.MetricsUser(name); err != nil && name != agent.EveryUser {
			mistakes = append(mistakes, file.Problem(fmt.Sprintf("metrics.users[%d]", i),
				"there is no such user here; name a user that is, by name or number, or \"*\" for every user"))
		}
	}
	return mistakes
}

// errNotFile is what is wrong with a pipe, a socket or a device: it may be read once, or never.
var errNotFile = errors.New("it is not a regular file")

// readable opens the file for reading, since its mode alone does not tell. A pipe without a writer does not hold it up.
func readable(path string) (fs.FileMode, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, errNotFile
	}
	return info.Mode(), nil
}

// cause is the last part of a file error, without the operation and the path, which the message has already.
func cause(err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return err.Error()
}

func readAtBoot(dir string) bool {
	return slices.Contains([]string{"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"}, dir)
}

// moduleFile is what has the module loaded at boot before sysctl.d is applied. Where the limit is in a file that the boot
// does not read, there is nothing to be in time for.
func (c *Config) moduleFile() string {
	if readAtBoot(filepath.Dir(c.Remediate.PersistFile)) {
		return "/etc/modules-load.d/ctwarden.conf"
	}
	return ""
}

// hostName is the configured name, or the kernel's.
func (c *Config) hostName() (string, error) {
	if c.Host != "" {
		return c.Host, nil
	}
	name, err := os.Hostname()
	if err != nil || strings.TrimSpace(name) == "" {
		return "", fmt.Errorf("the kernel has no host name; set host in the configuration: %w", err)
	}
	return name, nil
}

// controlSocket is where a running agent listens.
func (c *Config) controlSocket() string { return filepath.Join(c.RuntimeDir, "control.sock") }
