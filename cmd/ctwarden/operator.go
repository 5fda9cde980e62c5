package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/failpoint"
	"github.com/ctwarden/ctwarden/internal/persist"
	"github.com/ctwarden/ctwarden/remediate/conntrack"
)

// orders is who carries out an operator's orders: the running agent over its socket, or this process.
type orders interface {
	Do(ctx context.Context, c agent.Command) (agent.Reply, error)
}

// here carries out orders in this process, where no agent runs.
type here struct {
	cfg agent.Config
}

// Do implements orders.
func (h here) Do(ctx context.Context, c agent.Command) (reply agent.Reply, err error) {
	a, err := agent.Open(ctx, h.cfg)
	if err != nil {
		return reply, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	return a.Once(ctx, c)
}

// order has the agent do what is asked; where none runs, this process does it.
func order(ctx context.Context, std stdio, cfg Config, c agent.Command) (agent.Reply, error) {
	var by orders = agent.NewClient(cfg.controlSocket())
	reply, err := by.Do(ctx, c)
	if !errors.Is(err, agent.ErrNotRunning) {
		return unlessNoTable(reply, err)
	}
	converted, err := cfg.agent(warnLogger(std.err))
	if err != nil {
		return reply, err
	}
	reply, err = here{converted}.Do(ctx, c)
	if isPermission(err) {
		return reply, fmt.Errorf("not permitted; run as root: %w", err)
	}
	return unlessNoTable(reply, err)
}

// unlessNoTable turns the refusal of an order into an error where there is no table at all: not available here is
// another matter than not to be written.
func unlessNoTable(reply agent.Reply, err error) (agent.Reply, error) {
	if err != nil || reply.Done {
		return reply, err
	}
	table, err := conntrack.Open("/", time.Now)
	if err != nil {
		return reply, nil
	}
	defer table.Close()
	if _, err := table.Limits(); notThere(err) {
		return reply, err
	}
	return reply, nil
}

// answer prints a reply. One that is not done is an error.
func answer(std stdio, out output, reply agent.Reply) error {
	if out.json() {
		if err := writeJSON(std.out, reply); err != nil {
			return err
		}
		if !reply.Done {
			return errFindings
		}
		return nil
	}
	switch {
	case reply.Done:
		_, err := fmt.Fprintln(std.out, reply.Text)
		return err
	case reply.Reason != "":
		return refused("refused: %s: %s", reply.Reason, reply.Text)
	default:
		return refused("not done: %s", reply.Text)
	}
}

// whoAsks is the name of the person who runs this command, as far as it can be known.
func whoAsks() string {
	name := fmt.Sprintf("uid %d", os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	if by := os.Getenv("SUDO_USER"); by != "" && by != name {
		return by + " (as " + name + ")"
	}
	return name
}

// agent turns the configuration into the agent's own.
func (c *Config) agent(log *zap.Logger) (agent.Config, error) {
	host, err := c.hostName()
	if err != nil {
		return agent.Config{}, err
	}
	return agent.Config{
		Version: versionString(), Host: host, Site: c.Site, Root: "/", Policy: c.policy(), AwaitFleet: c.Remediate.AwaitFleet,
		CloseAfter: c.Incident.CloseAfter, UpdateEvery: c.Incident.UpdateEvery,
		Sources: agent.SourcesConfig{
			Lookback: c.Sources.Lookback, LateAfter: c.Sources.LateAfter, Kmsg: agent.Switch(c.Sources.Kmsg.Enabled),
			Journal: agent.Switch(c.Sources.Journal.Enabled), JournalDirectory: c.Sources.Journal.Directory,
			Syslog: agent.Switch(c.Sources.Syslog.Enabled), SyslogFiles: c.Sources.Syslog.Files,
		},
		NATS: c.NATS.dial(), Oncall: c.agentSenders(), OutboxMax: c.Outbox.MaxEvents, MetricsListen: c.Metrics.Listen, MetricsUsers: c.Metrics.Users,
		StateDir: c.StateDir, RuntimeDir: c.RuntimeDir,
		ControlGroup: c.ControlGroup, PersistFile: c.Remediate.PersistFile, ModuleFile: c.moduleFile(),
		PersistSocket: persist.DefaultSocket, Log: log,
		Fail: failpoint.New(),
	}, nil
}
