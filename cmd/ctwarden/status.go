package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/notify"
)

// askWithin bounds the wait for the agent's status, after which the kernel is read directly.
const askWithin = 5 * time.Second

func newStatusCommand(std stdio) *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the table, the limits, incidents, steps, sources and the connection to NATS",
		Long: `Shows the table, the limits, what it costs, what was refused, the sources, incidents, steps, the outbox and NATS.
Where no agent answers, it shows what the kernel itself says.

With --fleet it shows the hosts that have sent their state to NATS in the last three minutes, one a line, the fullest
first. Server and credentials are those of the configuration, or with --server what the flags say; they must be allowed to
read the bucket CTWARDEN_HOSTS, which a host's own are not. A host that has fallen silent is not in the list: compare its
length with the inventory, or see the hub's page.`,
		Example: `  ctwarden status
  ctwarden status --namespaces
  ctwarden status -o json | jq .limits
  ctwarden status --fleet --server nats://nats1:4222 --credentials operator.creds --site gva`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if f.fleet {
				return f.printFleet(cmd.Context(), std)
			}
			st, err := readStatus(cmd.Context(), std, f.config)
			if err != nil && !notThere(err) {
				return err
			}
			if printErr := printStatus(std, f.out, st, f.namespaces); printErr != nil {
				return printErr
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&f.namespaces, "namespaces", false, "show each network namespace")
	cmd.Flags().BoolVar(&f.fleet, "fleet", false, "show the fleet's hosts, from NATS")
	cmd.Flags().StringVar(&f.site, "site", "", "only this `site` (with --fleet)")
	f.register(cmd)
	configFlag(cmd, &f.config)
	f.out.flag(cmd, "text", "json")
	return cmd
}

// statusFlags are the flags of status as given.
type statusFlags struct {
	natsFlags
	namespaces, fleet bool
	site              string
	out               output
}

// check finds flags that do not go together.
func (f *statusFlags) check() error {
	if !f.fleet && (f.site != "" || f.server != "" || f.credentials != "") {
		return wrongUsage("--site, --server and --credentials go with --fleet")
	}
	if f.fleet && f.namespaces {
		return wrongUsage("--namespaces is of one host, and --fleet of all; give one of the two")
	}
	if f.site != "" {
		if err := notify.CheckSite(f.site); err != nil {
			return wrongUsage("%w", err)
		}
	}
	return f.natsFlags.check()
}

// readStatus asks the agent, and where it does not answer the kernel. A configuration with mistakes does not keep the
// operator from seeing the state of the host.
func readStatus(ctx context.Context, std stdio, path string) (agent.Status, error) {
	cfg, err := usableConfig(std, path)
	if err != nil {
		return agent.Status{}, err
	}
	ask, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	st, err := agent.NewClient(cfg.controlSocket()).Status(ask)
	if err == nil || ctx.Err() != nil {
		return st, errors.Join(err, ctx.Err())
	}
	st, kernelErr := kernelStatus(ctx, cfg)
	st.Notes = append([]string{err.Error() + "; this is what the kernel says"}, st.Notes...)
	return st, kernelErr
}

func printStatus(std stdio, out output, st agent.Status, namespaces bool) error {
	switch {
	case out.json():
		return writeJSON(std.out, st)
	case namespaces:
		return writeNamespaces(&terminal{w: std.out}, st)
	default:
		return writeStatus(&terminal{w: std.out}, st)
	}
}
